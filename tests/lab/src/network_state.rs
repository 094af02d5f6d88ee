//! What of a machine's network a gateway may change, as text: taken before and after, to see that it was put back.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};

use crate::namespace::Namespace;

/// Addresses, links, rules, routes and settings, one a line. Counters and what changes by itself are left out.
///
/// Standard error counts: a command that fails before and after must not make the two equal by silence. Some settings
/// can only be written.
const DUMP: &str = "exec 2>&1
sed 's/^/rule4 /' <(ip -4 rule show)
sed 's/^/rule6 /' <(ip -6 rule show)
sed 's/^/route4 /' <(ip -4 route show table all)
sed 's/^/route6 /' <(ip -6 route show table all)
sed 's/^/link /' <(ip -oneline link show)
sed 's/^/address /' <(ip -oneline address show)
{ grep --recursive --no-messages . /proc/sys/net || true; } | grep --invert-match --extended-regexp 'nf_conntrack_count|fastopen_key'";

/// A machine's network at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkState(BTreeSet<String>);

impl Namespace {
    /// The machine's addresses, links, rules, routes and network settings as they are now.
    pub fn network_state(&self) -> Result<NetworkState> {
        let text = self.bash(DUMP)?.success()?;
        ensure!(
            text.contains("rule6 ") && text.contains("rp_filter:"),
            "the state of the network is incomplete:\n{text}"
        );
        Ok(NetworkState(text.lines().map(str::to_owned).collect()))
    }
}

impl NetworkState {
    /// What differs in a later state: lines that are gone after a `-`, new ones after a `+`. Empty if nothing does.
    pub fn changes(&self, later: &Self) -> Vec<String> {
        let gone = self.0.difference(&later.0).map(|line| format!("- {line}"));
        let new = later.0.difference(&self.0).map(|line| format!("+ {line}"));
        gone.chain(new).collect()
    }

    /// An error that shows the changes, unless there are none.
    pub fn ensure_equals(&self, later: &Self) -> Result<()> {
        let changes = self.changes(later);
        ensure!(
            changes.is_empty(),
            "the machine's network is not as it was:\n{}",
            changes.join("\n")
        );
        Ok(())
    }
}
