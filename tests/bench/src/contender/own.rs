//! The bare link, and Tidegate in its two captures.

use anyhow::Result;
use tidegate_lab::Lab;

use super::{Client, Kind, Way};
use crate::session::{LOOP, Session};

/// Rules that every flow is tried against, by its program and its address; none of them matches.
const POLICY: &str = r#"
[[rule]]
name = "another program"
app = "/opt/another/**"
action = "block"

[[rule]]
name = "another network"
to = ["192.0.2.0/24", "2001:db8:2::/48"]
port = ["tcp/443", "udp/443"]
action = "block"
"#;

pub(super) const LINK: Way = Way {
    name: "link",
    kind: Kind::Bound,
    programs: &[],
    start: |lab| {
        Ok(Client {
            session: on_host(lab)?,
            daemons: Vec::new(),
        })
    },
};

pub(super) const EXEC: Way = Way {
    name: "exec",
    kind: Kind::Own,
    programs: &[],
    start: |lab| {
        let session =
            Session::start(&mut lab.exec().config(POLICY)?.command(&["bash", "-c", LOOP])?)?;
        Ok(Client {
            session,
            daemons: Vec::new(),
        })
    },
};

pub(super) const HOST: Way = Way {
    name: "host",
    kind: Kind::Own,
    programs: &[],
    start: |lab| {
        let daemon = lab.tidegate(POLICY)?.into_process();
        Ok(Client {
            session: on_host(lab)?,
            daemons: vec![daemon],
        })
    },
};

/// A shell on the host, where programs are captured by its routes or not at all.
pub(super) fn on_host(lab: &Lab) -> Result<Session> {
    Session::start(lab.host.command("bash").args(["-c", LOOP]))
}
