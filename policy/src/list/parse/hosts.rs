//! Lines of a hosts file: `0.0.0.0 name name # comment`.

use super::super::{Effect, Reach};
use super::Reason;
use super::taking::{Taking, is_null};

/// Names that a hosts file gives the machine itself and its networks.
const LOCAL: [&str; 14] = [
    "localhost",
    "localhost.localdomain",
    "localhost4",
    "localhost6",
    "local",
    "loopback",
    "broadcasthost",
    "ip6-localhost",
    "ip6-loopback",
    "ip6-localnet",
    "ip6-mcastprefix",
    "ip6-allnodes",
    "ip6-allrouters",
    "ip6-allhosts",
];

pub(super) fn line(text: &str, taking: &mut Taking<'_>) {
    // Some lists write `name#comment`.
    let text = text.split('#').next().unwrap_or("");
    let mut words = text.split_whitespace();
    let Some(address) = words.next() else {
        return taking.comment();
    };
    entries(address, words, taking);
}

/// The names of a line that begins with an address.
pub(super) fn entries<'t>(
    address: &str,
    names: impl Iterator<Item = &'t str>,
    taking: &mut Taking<'_>,
) {
    // The scope of `fe80::1%lo0` means nothing here.
    let address = address.split('%').next().unwrap_or("");
    if address.parse::<std::net::IpAddr>().is_err() {
        return taking.ignore(Reason::NotAnAddress);
    }
    let mut names = names.peekable();
    if names.peek().is_none() {
        return taking.ignore(Reason::Syntax);
    }
    for name in names {
        if is_local(name) || name == address {
            taking.ignore(Reason::Local);
        } else if is_null(address) {
            taking.name(name, Reach::Exact, Effect::Block);
        } else {
            taking.ignore(Reason::Rewrite);
        }
    }
}

fn is_local(name: &str) -> bool {
    LOCAL.iter().any(|local| name.eq_ignore_ascii_case(local))
}
