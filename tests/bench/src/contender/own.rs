//! The bare link, and Tidegate in its two captures.

use anyhow::Result;
use tidegate_lab::Lab;

use super::{Client, Kind, Way, pin};
use crate::session::{LOOP, Session};

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
        let session = Session::start(&mut lab.exec().command(&["bash", "-c", LOOP])?)?;
        pin::behind(lab, &session)?;
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
        let daemon = lab.tidegate("")?.into_process();
        // Our own routes have no metrics, so programs' connections would take the machine's default.
        pin::routes(lab, "tide0", "5100")?;
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
