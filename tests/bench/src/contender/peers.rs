//! Other programs that do a similar job, each with the settings that made it fastest here.

use std::time::Duration;

use anyhow::{Context, Result};
use tidegate_lab::{Background, Lab, User, address, wait_until};

use super::own::on_host;
use super::program::Version;
use super::{Client, Kind, Program, Way, pin};
use crate::session::{LOOP, Session};

/// How long a peer may take to capture.
const START: Duration = Duration::from_secs(10);

const PASTA_PROGRAM: Program = Program {
    name: "pasta",
    version: Version::Package("passt"),
};
const SING_BOX_PROGRAM: Program = Program {
    name: "sing-box",
    version: Version::Printed {
        argument: "version",
        after: "version",
    },
};
const TUN2PROXY_PROGRAM: Program = Program {
    name: "tun2proxy-bin",
    version: Version::Printed {
        argument: "--version",
        after: "tun2proxy",
    },
};
const SOCKS_PROGRAM: Program = Program {
    name: "microsocks",
    version: Version::Package("microsocks"),
};

/// The namespace gateway of passt, as an ordinary user.
pub(super) const PASTA: Way = Way {
    name: "pasta",
    kind: Kind::Peer,
    programs: &[PASTA_PROGRAM],
    start: |lab| {
        // As root it would become another user and fail to map identities.
        let mut pasta = lab.host.command_as(User::ALICE, PASTA_PROGRAM.path()?);
        pasta.args(["--config-net", "--quiet", "--foreground", "--"]);
        let session = Session::start(pasta.args(["bash", "-c", LOOP]))?;
        pin::behind(lab, &session)?;
        Ok(Client {
            session,
            daemons: Vec::new(),
        })
    },
};

/// sing-box, with connections that the host's own stack ends.
pub(super) const SING_BOX_SYSTEM: Way = Way {
    name: "sing-box/system",
    kind: Kind::Peer,
    programs: &[SING_BOX_PROGRAM],
    start: |lab| sing_box(lab, "system"),
};

/// sing-box, with connections that gVisor's stack ends.
pub(super) const SING_BOX_GVISOR: Way = Way {
    name: "sing-box/gvisor",
    kind: Kind::Peer,
    programs: &[SING_BOX_PROGRAM],
    start: |lab| sing_box(lab, "gvisor"),
};

/// tun2proxy, which speaks SOCKS only, and a SOCKS server beside it: the cost is of both.
pub(super) const TUN2PROXY: Way = Way {
    name: "tun2proxy",
    kind: Kind::Peer,
    programs: &[TUN2PROXY_PROGRAM, SOCKS_PROGRAM],
    start: tun2proxy,
};

fn sing_box(lab: &Lab, stack: &str) -> Result<Client> {
    let config = serde_json::json!({
        "log": { "level": "warn" },
        "inbounds": [{
            "type": "tun",
            "interface_name": "sing0",
            "address": ["172.18.0.1/30"],
            // Its default of 9,000 makes it half as fast with one stream, the link's 1,500 a fifth.
            "mtu": 65_535,
            "auto_route": true,
            "stack": stack,
        }],
        "outbounds": [{ "type": "direct" }],
        "route": { "default_interface": "up0" },
    });
    let config = lab.file("sing-box.json", config.to_string())?;
    let daemon = lab.host.background(&format!(
        "ulimit -n $(ulimit -Hn); exec {} run --config {} --directory {}",
        SING_BOX_PROGRAM.path()?.display(),
        config.display(),
        lab.folder().display()
    ))?;
    captured(lab, "sing0", &daemon)?;
    pin::routes(lab, "sing0", "2022")?;
    Ok(Client {
        session: on_host(lab)?,
        daemons: vec![daemon],
    })
}

/// The SOCKS server's own connections are kept out by its user.
fn tun2proxy(lab: &Lab) -> Result<Client> {
    let User(socks_user) = User::BOB;
    let setup = format!(
        "ip tuntap add dev t2p0 mode tun && ip address add 198.18.0.1/15 dev t2p0 && ip link set t2p0 mtu 1500 up &&
         ip rule add pref 100 uidrange {socks_user}-{socks_user} lookup main && ip rule add pref 110 lookup 77 &&
         ip route add default dev t2p0 table 77"
    );
    lab.host.bash(&setup)?.success()?;
    let socks = lab.host.background_as(
        User::BOB,
        &format!(
            "ulimit -n $(ulimit -Hn); exec {} -i 127.0.0.1 -p 1080",
            SOCKS_PROGRAM.path()?.display()
        ),
    )?;
    let daemon = lab.host.background(&format!(
        "ulimit -n $(ulimit -Hn); exec {} --tun t2p0 --proxy socks5://127.0.0.1:1080 --tcp-mss 1460 --max-sessions 20000 --verbosity warn",
        TUN2PROXY_PROGRAM.path()?.display()
    ))?;
    captured(lab, "t2p0", &daemon)?;
    pin::routes(lab, "t2p0", "77")?;
    Ok(Client {
        session: on_host(lab)?,
        daemons: vec![daemon, socks],
    })
}

/// Waits until packets for the server go into the device, and somebody holds it.
fn captured(lab: &Lab, device: &str, daemon: &Background) -> Result<()> {
    let question = format!(
        "ip route get {} | grep -qw {device} && ip link show {device} | grep -q LOWER_UP",
        address::SERVER_V4
    );
    wait_until(&format!("packets go to {device}"), START, || {
        lab.host
            .bash(&question)
            .is_ok_and(|asked| asked.status.success())
    })
    .with_context(|| format!("it said: {}", daemon.output()))
}
