//! Exec capture: nothing leads round the gateway, and nothing outside of it changes.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tidegate_lab::{Lab, Namespace, User, service, wait_until};

const USERS: [User; 2] = [User::ALICE, User::ROOT];
const NOTHING_PASSES: &str = "[policy]\ndefault = \"drop\"\n";
/// Packets past the sockets that a policy is usually thought of, each a hope to reach the server.
const RAW_PACKETS: &str = "
import socket, struct
def attempt(name, send):
    try:
        send()
        print(name, 'was sent')
    except OSError as error:
        print(name, 'failed:', error)
def datagram():
    data = b'round the gateway'
    udp = struct.pack('!HHHH', 4000, 7, 8 + len(data), 0) + data
    ip = struct.pack('!BBHHHBBH4s4s', 69, 0, 0, 0, 0, 64, 17, 0, bytes(4), socket.inet_aton('203.0.113.10'))
    return ip + udp
def raw_ip():
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW).sendto(datagram(), ('203.0.113.10', 0))
def raw_icmp():
    echo = struct.pack('!BBHHH', 8, 0, 0xf7fe, 0, 1)
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).sendto(echo, ('203.0.113.10', 0))
def device(name):
    def send():
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name.encode())
        client.sendto(b'round the gateway', ('203.0.113.10', 7))
    return send
def frame(name):
    def send():
        client = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x800))
        client.sendto(datagram(), (name, 0x800, 0, 0, b'\\xff' * 6))
    return send
def marked():
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 0x2000000)
    client.sendto(b'round the gateway', ('203.0.113.10', 7))
attempt('raw IP', raw_ip)
attempt('raw ICMP', raw_icmp)
attempt('mark', marked)
for _, name in socket.if_nameindex():
    attempt('bound to ' + name, device(name))
    attempt('frame on ' + name, frame(name))
attempt('bound to the uplink', device('up0'))
";

#[test]
fn no_packet_goes_round_the_gateway() -> Result<()> {
    let lab = Lab::new()?;
    let without = packets_received(&lab.server)?;
    lab.host.python(RAW_PACKETS)?.success()?;
    wait_until(
        "without the gateway some arrive",
        Duration::from_secs(5),
        || packets_received(&lab.server).is_ok_and(|now| now >= without + 4),
    )?;
    for user in USERS {
        let session = lab.session_as(user, NOTHING_PASSES)?;
        let before = packets_received(&lab.server)?;
        let said = session.python(RAW_PACKETS)?.success()?;
        ensure!(
            said.contains("bound to the uplink failed"),
            "{user:?}: {said}"
        );
        // Whatever was sent before this was judged before it.
        session.bash("ping -c 1 -W 1 203.0.113.10")?.failure()?;
        let after = packets_received(&lab.server)?;
        ensure!(
            after == before,
            "{user:?}: {} arrived; {said}",
            after - before
        );
    }
    Ok(())
}

/// IPv4 packets that came to a machine.
fn packets_received(machine: &Namespace) -> Result<u64> {
    let count = "nstat --zeros --ignore --noupdate --json IpInReceives";
    let text = machine.bash(count)?.success()?;
    let json: serde_json::Value = serde_json::from_str(&text)?;
    json["kernel"]["IpInReceives"]
        .as_u64()
        .with_context(|| format!("no count in {text}"))
}

#[test]
fn the_network_inside_cannot_be_changed_or_left() -> Result<()> {
    let lab = Lab::new()?;
    for user in USERS {
        let mut session = lab.session_as(user, NOTHING_PASSES)?;
        let outside = format!("/proc/{}/ns", session.process().pid());
        let state = "ip -o address; ip route; ip -6 route; ip rule";
        let before = session.bash(state)?.success()?;
        for attempt in [
            "ip route del default",
            "ip route add 203.0.113.10 dev lo",
            "ip link set tide0 down",
            &format!("ip link add veth0 type veth peer name veth1 netns {outside}/net"),
            "ip address add 192.0.2.1/24 dev lo",
            "ip rule add lookup local",
            "nft add table inet mine",
            &format!("nsenter --net={outside}/net true"),
            &format!("nsenter --user={outside}/user true"),
            "unshare --user --map-root-user ip route del default",
            &format!("unshare --user --map-root-user nsenter --net={outside}/net true"),
        ] {
            let ended = session.bash(attempt)?;
            ensure!(!ended.status.success(), "{user:?}: {attempt}: {ended:?}");
            ensure!(ended.code() != 127, "{ended:?}");
        }
        let after = session.bash(state)?.success()?;
        ensure!(after == before, "{user:?}: {before}\nbecame\n{after}");
    }
    Ok(())
}

#[test]
fn a_socket_of_the_host_is_reachable_only_where_the_user_named_it() -> Result<()> {
    let lab = Lab::new()?;
    let elsewhere = lab.folder().join("elsewhere.sock").display().to_string();
    let sockets = [
        "/run/service.sock",
        "/tmp/tidegate-lab.sock",
        elsewhere.as_str(),
    ];
    // The lab's own /run and folder; /tmp is the build machine's, where no test puts anything.
    let sockets = [sockets[0], sockets[2]];
    let mut servers = Vec::new();
    for socket in sockets {
        let listen = format!("socat UNIX-LISTEN:{socket},fork,mode=666 SYSTEM:'echo leaked'");
        servers.push(lab.host.background(&listen)?);
        let reachable = || {
            let said = lab.host.bash_as(User::ALICE, &ask(socket));
            said.is_ok_and(|said| said.stdout == "leaked")
        };
        wait_until(
            "the socket answers outside",
            Duration::from_secs(5),
            reachable,
        )?;
    }
    for user in USERS {
        for socket in sockets {
            let closed = lab.exec().user(user);
            let said = closed.bash(&ask(socket))?;
            ensure!(!said.stdout.contains("leaked"), "{user:?}: {socket}");
            let open = closed.option("--socket").option(socket);
            let said = open.bash(&ask(socket))?.success()?;
            ensure!(said == "leaked", "{user:?}: {socket}: {said}");
        }
    }
    Ok(())
}

fn ask(socket: &str) -> String {
    format!("socat -u UNIX-CONNECT:{socket} -")
}

#[test]
fn a_hidden_socket_is_not_found_by_detours() -> Result<()> {
    let lab = Lab::new()?;
    let elsewhere = lab.folder().join("elsewhere.sock").display().to_string();
    let mut servers = Vec::new();
    for listen in [
        "UNIX-LISTEN:/run/service.sock",
        &format!("UNIX-LISTEN:{elsewhere}"),
        "ABSTRACT-LISTEN:service",
    ] {
        let mode = if listen.starts_with("UNIX") {
            ",mode=666"
        } else {
            ""
        };
        let server = format!("socat {listen},fork{mode} SYSTEM:'echo leaked'");
        servers.push(lab.host.background(&server)?);
    }
    let abstract_one = "socat -u ABSTRACT-CONNECT:service -";
    for outside in [&ask("/run/service.sock"), &ask(&elsewhere), abstract_one] {
        wait_until("the socket answers outside", Duration::from_secs(5), || {
            lab.host
                .bash_as(User::ALICE, outside)
                .is_ok_and(|said| said.stdout == "leaked")
        })?;
    }
    for user in USERS {
        for detour in [
            abstract_one,
            &ask("/proc/$PPID/root/run/service.sock"),
            &ask(&format!("/proc/$PPID/root{elsewhere}")),
            &ask("/proc/$PPID/cwd/../../../../../../../run/service.sock"),
            &format!("umount /run; {}", ask("/run/service.sock")),
            &format!("umount {elsewhere}; {}", ask(&elsewhere)),
            &format!(
                "unshare --user --map-root-user --mount bash -c 'umount /run; {}'",
                ask("/run/service.sock")
            ),
            &format!(
                "unshare --user --map-root-user --mount bash -c 'umount {elsewhere}; {}'",
                ask(&elsewhere)
            ),
            &format!(
                "nsenter --mount=/proc/$PPID/ns/mnt {}",
                ask("/run/service.sock")
            ),
        ] {
            let said = lab.exec().user(user).bash(detour)?;
            ensure!(!said.stdout.contains("leaked"), "{user:?}: {detour}");
        }
    }
    Ok(())
}

#[test]
fn a_datagram_socket_of_the_host_takes_nothing_from_inside() -> Result<()> {
    let lab = Lab::new()?;
    let log = lab.folder().join("log.sock").display().to_string();
    let server = format!("socat -u UNIX-RECVFROM:{log},fork,mode=666 STDOUT");
    let logger = lab.host.background(&server)?;
    let send = |text: &str| {
        format!(
            "/usr/bin/python3 -c \"import socket; \
             socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'{text}', '{log}')\""
        )
    };
    wait_until("the socket is there", Duration::from_secs(5), || {
        lab.host
            .bash(&send("outside"))
            .is_ok_and(|sent| sent.status.success())
    })?;
    for user in USERS {
        lab.exec().user(user).bash(&send("inside"))?.failure()?;
    }
    lab.host.bash(&send("end of test"))?.success()?;
    logger.wait_for_output("end of test")?;
    ensure!(!logger.output().contains("inside"), "{}", logger.output());
    Ok(())
}

#[test]
fn nothing_of_the_host_s_network_changes() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    for user in USERS {
        let before = lab.host.network_state()?;
        let session = lab.session_as(user, "")?;
        session
            .bash("curl -sS http://203.0.113.10/whoami; curl -sS http://[2001:db8:113::10]/whoami")?
            .success()?;
        before.ensure_equals(&lab.host.network_state()?)?;
        drop(session);
        before.ensure_equals(&lab.host.network_state()?)?;
    }
    Ok(())
}

#[test]
fn without_its_gateway_the_command_reaches_nothing() -> Result<()> {
    let lab = Lab::new()?;
    let web = service::Http::start(&lab.server, 80)?;
    let mut session = lab.session("")?;
    session
        .bash("curl -sS http://203.0.113.10/whoami")?
        .success()?;
    let orphan = session.start(
        "while :; do curl -s --max-time 1 http://203.0.113.10/whoami; echo tried; sleep 0.1; done",
    )?;
    orphan.wait_for_output("tried")?;
    session.process().kill()?;
    let met = web.peers().len();
    let tries = || orphan.output().matches("tried").count();
    let enough = tries() + 5;
    wait_until("it tries again", Duration::from_secs(20), || {
        tries() >= enough
    })?;
    // One may have been on its way when the gateway died.
    ensure!(web.peers().len() <= met + 1, "{:?}", web.peers());
    Ok(())
}

#[test]
fn programs_inside_reach_each_other_over_their_own_loopback() -> Result<()> {
    let lab = Lab::new()?;
    let session = lab.session("")?;
    let _server = session.start("socat TCP4-LISTEN:8080,bind=127.0.0.1,fork SYSTEM:'echo mine'")?;
    let listens = "until ss -Htln | grep --quiet 127.0.0.1:8080; do sleep 0.02; done";
    session.bash(listens)?.success()?;
    let ask = "socat -u TCP4:127.0.0.1:8080 -";
    let said = session.bash(ask)?.success()?;
    ensure!(said == "mine", "{said}");
    lab.host.bash(ask)?.failure()?;
    ensure!(session.gateway().flows_to("127.0.0.1:8080")?.is_empty());
    Ok(())
}

#[test]
fn the_host_s_loopback_is_reached_at_the_gateway_only_where_the_user_allowed_it() -> Result<()> {
    let lab = Lab::new()?;
    let server = "socat TCP4-LISTEN:8080,bind=127.0.0.1,fork SYSTEM:'echo host'";
    let _server = lab.host.background(server)?;
    let listens = "until ss -Htln | grep --quiet 127.0.0.1:8080; do sleep 0.02; done";
    lab.host.bash(listens)?.success()?;
    let ask = "socat -u TCP4:$(ip -4 route show default | cut -d' ' -f3):8080,connect-timeout=5 -";
    let refused = lab.exec().bash(ask)?.failure()?;
    ensure!(refused.contains("refused"), "{refused}");
    let open = lab.exec().option("--host-loopback").bash(ask)?.success()?;
    ensure!(open == "host", "{open}");
    Ok(())
}
