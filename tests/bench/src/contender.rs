//! Who takes part, and how each starts: in a lab of its own, so that none is in another's way.

use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use tidegate_lab::{Background, Lab, User};

use crate::load::Load;
use crate::process::{self, Gateway};
use crate::session::{LOOP, Session};

/// One way for a program to reach the server, ready to be measured.
///
/// Fields end in this order: the client, the gateway, the servers, the network.
#[derive(Debug)]
pub(crate) struct Contender {
    name: &'static str,
    session: Session,
    daemon: Option<Background>,
    load: Load,
    lab: Lab,
}

/// Everybody who could take part.
const NAMES: [&str; 4] = ["link", "exec", "host", "pasta"];

/// The contenders named; without names all of them, except for peers that are not installed.
pub(crate) fn chosen(names: &[String]) -> Result<Vec<Contender>> {
    if names.is_empty() {
        let present = NAMES
            .iter()
            .filter(|name| **name != "pasta" || is_installed("pasta"));
        return present.map(|name| Contender::named(name)).collect();
    }
    names.iter().map(|name| Contender::named(name)).collect()
}

impl Contender {
    fn named(name: &str) -> Result<Self> {
        match name {
            "link" => Self::link(),
            "exec" => Self::exec(),
            "host" => Self::host(),
            "pasta" => Self::pasta(),
            unknown => bail!(
                "there is no contender {unknown}; there are {}",
                NAMES.join(", ")
            ),
        }
    }

    /// No gateway at all: what is possible.
    fn link() -> Result<Self> {
        Self::start("link", |lab| {
            Ok((
                Session::start(lab.host.command("bash").args(["-c", LOOP]))?,
                None,
            ))
        })
    }

    fn exec() -> Result<Self> {
        let contender = Self::start("exec", |lab| {
            Ok((
                Session::start(&mut lab.exec().command(&["bash", "-c", LOOP])?)?,
                None,
            ))
        })?;
        contender.pin_congestion_control()?;
        Ok(contender)
    }

    fn host() -> Result<Self> {
        Self::start("host", |lab| {
            let daemon = lab.tidegate("")?.into_process();
            // Our own routes have no metrics, so programs' connections would take the machine's default.
            lab.host.bash(PIN_CAPTURE)?.success()?;
            Ok((
                Session::start(lab.host.command("bash").args(["-c", LOOP]))?,
                Some(daemon),
            ))
        })
    }

    fn pasta() -> Result<Self> {
        let contender = Self::start("pasta", |lab| {
            // As root it would become another user and fail to map identities.
            let mut pasta = lab.host.command_as(User::ALICE, "pasta");
            pasta.args([
                "--config-net",
                "--quiet",
                "--foreground",
                "--",
                "bash",
                "-c",
                LOOP,
            ]);
            Ok((Session::start(&mut pasta)?, None))
        })?;
        contender.pin_congestion_control()?;
        Ok(contender)
    }

    fn start(
        name: &'static str,
        client: impl FnOnce(&Lab) -> Result<(Session, Option<Background>)>,
    ) -> Result<Self> {
        let lab = Lab::new()?;
        let load = Load::start(&lab)?;
        let (session, daemon) = client(&lab).with_context(|| format!("cannot start {name}"))?;
        Ok(Self {
            name,
            session,
            daemon,
            load,
            lab,
        })
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Whether there is no gateway.
    pub(crate) fn is_link(&self) -> bool {
        self.name == "link"
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

    /// The gateway's processes.
    pub(crate) fn gateway(&self) -> Gateway {
        Gateway::below(
            self.daemon
                .as_ref()
                .map_or(self.session.pid(), Background::pid),
        )
    }

    /// Pins the client's side of a gateway that made a network namespace. From outside: inside one may not.
    fn pin_congestion_control(&self) -> Result<()> {
        let shell = process::tree(self.session.pid())?
            .into_iter()
            .find(|process| process.name == "bash");
        let shell = shell.context("there is no shell behind the gateway")?.pid;
        let script = format!(
            "ip() {{ nsenter --net=/proc/{shell}/ns/net ip $@; }}
             for family in -4 -6; do
                 ip $family route show default | while read -r route; do
                     ip $family route change $route congctl cubic || exit
                 done
             done"
        );
        self.lab
            .host
            .bash(&script)?
            .success()
            .context("cannot pin the congestion control")?;
        ensure!(
            self.lab
                .host
                .bash(&format!("nsenter --net=/proc/{shell}/ns/net ip route"))?
                .success()?
                .contains("cubic")
        );
        Ok(())
    }
}

/// Pins the congestion control of the connections that programs make into the gateway's device.
const PIN_CAPTURE: &str = "
    for family in -4 -6; do
        ip $family route show default table 5100 | grep tide0 | while read -r route; do
            ip $family route change $route table 5100 congctl cubic || exit
        done
    done
    for family in -4 -6; do
        ip $family route show default table 5100 | grep tide0 | grep -q cubic || exit
    done";

fn is_installed(program: &str) -> bool {
    Command::new("which")
        .arg(program)
        .output()
        .is_ok_and(|output| output.status.success())
}
