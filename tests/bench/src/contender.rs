//! Who takes part, and how each starts: in a lab of its own, so that none is in another's way.

mod own;
mod peers;
mod pin;
mod program;

use anyhow::{Context, Result, bail};
use tidegate_lab::{Background, Lab};

use crate::load::Load;
use crate::measure::Group;
use crate::process::Gateway;
use crate::session::Session;

pub(crate) use program::Program;

/// What a contender is to the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// No gateway: what is possible.
    Bound,
    /// Tidegate.
    Own,
    /// Another program that does a similar job.
    Peer,
}

impl Kind {
    /// The bare link has no gateway that could take memory or wake up.
    pub(crate) fn is_measured_in(self, group: Group) -> bool {
        self != Self::Bound || group.includes_link()
    }
}

/// One way for a program to reach the server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// The programs of others that it needs.
    pub(crate) programs: &'static [Program],
    start: fn(&Lab) -> Result<Client>,
}

/// Everybody who could take part.
const ALL: [Way; 7] = [
    own::LINK,
    own::EXEC,
    own::HOST,
    peers::PASTA,
    peers::SING_BOX_SYSTEM,
    peers::SING_BOX_GVISOR,
    peers::TUN2PROXY,
];

impl Way {
    /// Those named; without names all whose programs are installed.
    pub(crate) fn chosen(names: &[String]) -> Result<Vec<Self>> {
        if names.is_empty() {
            return Ok(ALL.into_iter().filter(Self::is_installed).collect());
        }
        names.iter().map(|name| Self::named(name)).collect()
    }

    pub(crate) fn named(name: &str) -> Result<Self> {
        match ALL.into_iter().find(|way| way.name == name) {
            Some(way) => Ok(way),
            None => bail!(
                "there is no contender {name}; there are {}",
                ALL.map(|way| way.name).join(", ")
            ),
        }
    }

    fn is_installed(&self) -> bool {
        self.programs.iter().all(|program| program.path().is_ok())
    }
}

/// The session behind a gateway, and what runs for it beside it.
struct Client {
    session: Session,
    /// The gateway's programs; none where the session itself was started through it.
    daemons: Vec<Background>,
}

/// A way that is open, ready to be measured.
///
/// Fields end in this order: the client, the gateway, the servers, the network.
#[derive(Debug)]
pub(crate) struct Contender {
    session: Session,
    daemons: Vec<Background>,
    load: Load,
    _lab: Lab,
}

impl Contender {
    pub(crate) fn start(way: Way) -> Result<Self> {
        let lab = Lab::new()?;
        let load = Load::start(&lab)?;
        let Client { session, daemons } =
            (way.start)(&lab).with_context(|| format!("cannot start {}", way.name))?;
        Ok(Self {
            session,
            daemons,
            load,
            _lab: lab,
        })
    }

    /// The programs that make load.
    pub(crate) fn load(&self) -> &Load {
        &self.load
    }

    /// Runs a command behind the gateway that prints `N` numbers.
    pub(crate) fn figures<const N: usize>(&mut self, line: &str) -> Result<[f64; N]> {
        let printed = self.run(line)?;
        let numbers: Result<Vec<f64>, _> = printed.split_whitespace().map(str::parse).collect();
        let numbers = numbers.ok().and_then(|numbers| numbers.try_into().ok());
        numbers.with_context(|| format!("`{line}` printed {printed:?}, not {N} numbers"))
    }

    /// Runs one line of bash behind the gateway.
    pub(crate) fn run(&mut self, line: &str) -> Result<String> {
        self.session.run(line)
    }

    /// Runs one line of bash behind the gateway, and calls a function with each line when it is printed.
    pub(crate) fn watch(
        &mut self,
        line: &str,
        mut printing: impl FnMut(&Gateway, &Load, &str) -> Result<()>,
    ) -> Result<()> {
        let gateway = self.gateway();
        let load = &self.load;
        let printed = self
            .session
            .watch(line, |line| printing(&gateway, load, line));
        printed.map(drop)
    }

    /// Starts a command behind the gateway that goes on while others run, and waits until it has printed this word.
    pub(crate) fn start_beside(&mut self, line: &str, word: &str) -> Result<()> {
        let start = format!(
            "exec 9< <(ulimit -n $(ulimit -Hn); exec {line}); beside=$!; read -r word rest <&9 && [ \"$word\" = {word} ]"
        );
        self.run(&start).map(drop)
    }

    /// Ends it.
    pub(crate) fn end_beside(&mut self) -> Result<()> {
        let end = "kill $beside; exec 9<&-; while kill -0 $beside 2>/dev/null; do sleep 0.05; done";
        self.run(end).map(drop)
    }

    /// The gateway's processes.
    pub(crate) fn gateway(&self) -> Gateway {
        if self.daemons.is_empty() {
            return Gateway::below(vec![self.session.pid()]);
        }
        Gateway::below(self.daemons.iter().map(Background::pid).collect())
    }
}
