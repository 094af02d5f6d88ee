//! Exec capture, driven by real programs. It starts itself again, as the gateway does, and so has a `main` of its own.
//!
//! Runs as root: each case once as root, and once as an ordinary user, in a mount namespace where `/dev/net/tun` is open
//! to everyone as distributions ship it. Nothing outside of namespaces is changed.
#![cfg(target_os = "linux")]
#![expect(clippy::print_stderr, clippy::print_stdout, reason = "a test program reports on its standard streams")]

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};

use tidegate_platform::namespaces::{CONTAIN_ARGUMENT, ContainConfig, Contained, contain_main, exit_code};

/// Prefix of an argument that lets a socket in.
const SOCKET: &str = "--socket=";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next() {
        Some(first) if first == CONTAIN_ARGUMENT => second_process(&arguments.next().unwrap_or_default()),
        Some(first) if first == "run" => first_process(arguments.collect()),
        _ => all_cases(),
    }
}

fn second_process(descriptor: &OsString) -> ExitCode {
    match contain_main(descriptor) {
        Ok(never) => match never {},
        Err(_) => ExitCode::FAILURE,
    }
}

/// What `tidegate exec` does, without serving the device.
fn first_process(arguments: Vec<OsString>) -> ExitCode {
    let is_socket = |argument: &&OsString| argument.to_str().is_some_and(|text| text.starts_with(SOCKET));
    let sockets = arguments.iter().filter(is_socket).filter_map(|text| text.to_str()?.strip_prefix(SOCKET)).map(PathBuf::from);
    let mut command = arguments.iter().filter(|argument| !is_socket(argument)).cloned();
    let config = ContainConfig {
        program: command.next().unwrap(),
        arguments: command.collect(),
        device: "tide0".to_owned(),
        mtu: 1400,
        virtio_header: true,
        ipv6: true,
        sockets: sockets.collect(),
        search: vec!["example.test".to_owned()],
        diag_sockets: 2,
    };
    let run = || {
        let mut contained = Contained::spawn(&config)?;
        assert_eq!(contained.diag.len(), 2);
        for warning in &contained.report.warnings {
            eprintln!("warning: {warning}");
        }
        contained.command.start()?;
        Ok(contained.command.wait().unwrap())
    };
    match run() {
        Ok(status) => ExitCode::from(exit_code(status)),
        Err::<_, tidegate_platform::namespaces::ContainError>(error) => {
            eprintln!("{error}");
            ExitCode::from(error.exit_code())
        }
    }
}

/// Who runs a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum As {
    Root,
    OrdinaryUser,
}

/// A copy of this program that everyone may run, and a place for sockets and files.
struct Bench {
    directory: PathBuf,
    program: PathBuf,
}

impl Bench {
    fn new() -> Self {
        use std::os::unix::fs::PermissionsExt;
        let directory = PathBuf::from(format!("/var/tmp/tidegate-contain-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o777)).unwrap();
        let program = directory.join("contain");
        std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        Self { directory, program }
    }

    /// Runs a command contained. A mount namespace around it opens the device to all, without touching the host's file:
    /// a device node of its own on a tmpfs is bound over it.
    fn run(&self, user: As, arguments: &[&str]) -> Output {
        const SETUP: &str = "set -e; mount -t tmpfs -o mode=0755 tidegate-test /mnt; mknod -m 0666 /mnt/tun c 10 200; \
            mount --bind /mnt/tun /dev/net/tun; exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", SETUP, "sh"]);
        if user == As::OrdinaryUser {
            command.args(["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]);
        }
        command.arg(&self.program).arg("run").args(arguments).current_dir("/").env_remove("XDG_RUNTIME_DIR");
        command.output().unwrap()
    }

    /// Standard output of a shell script that has to succeed.
    fn shell(&self, user: As, script: &str) -> String {
        let output = self.run(user, &["sh", "-c", script]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script:?} as {user:?}: {}\n{errors}", output.status);
        assert!(!errors.contains("warning:"), "{errors}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

type Case = (&'static str, fn(&Bench, As));

const CASES: &[Case] = &[
    ("the_exit_status_is_the_commands", the_exit_status_is_the_commands),
    ("the_command_stays_the_same_user", the_command_stays_the_same_user),
    ("only_the_device_and_loopback_are_inside", only_the_device_and_loopback_are_inside),
    ("no_capability_over_network_or_mounts_is_left", no_capability_over_network_or_mounts_is_left),
    ("names_are_asked_of_the_gateway", names_are_asked_of_the_gateway),
    ("sockets_are_hidden_unless_named", sockets_are_hidden_unless_named),
    ("the_mounts_cannot_be_taken_off", the_mounts_cannot_be_taken_off),
];

fn all_cases() -> ExitCode {
    let wanted = std::env::args().nth(1).filter(|argument| !argument.starts_with('-'));
    let bench = Bench::new();
    let before = network_of_host();
    let mut failures = 0;
    for (name, case) in CASES.iter().filter(|(name, _)| wanted.as_ref().is_none_or(|wanted| name.contains(wanted.as_str()))) {
        for user in [As::Root, As::OrdinaryUser] {
            let passed = std::panic::catch_unwind(|| case(&bench, user)).is_ok();
            println!("test {name} as {user:?} ... {}", if passed { "ok" } else { "FAILED" });
            failures += u32::from(!passed);
        }
    }
    assert_eq!(network_of_host(), before, "the host's network has changed");
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Links and rules of the host, as text.
fn network_of_host() -> String {
    [vec!["-o", "addr"], vec!["rule"], vec!["route", "show", "table", "all"]]
        .into_iter()
        .map(|arguments| String::from_utf8_lossy(&Command::new("ip").args(arguments).output().unwrap().stdout).into_owned())
        .collect()
}

fn the_exit_status_is_the_commands(bench: &Bench, user: As) {
    let code = |arguments: &[&str]| bench.run(user, arguments).status.code();
    assert_eq!(code(&["true"]), Some(0));
    assert_eq!(code(&["sh", "-c", "exit 42"]), Some(42));
    assert_eq!(code(&["sh", "-c", "kill -TERM $$"]), Some(128 + 15));
    assert_eq!(code(&["no-such-program-here"]), Some(127));
    assert_eq!(code(&["/etc/hostname"]), Some(126));
}

fn the_command_stays_the_same_user(bench: &Bench, user: As) {
    let expected = if user == As::Root { "0 0\n" } else { "65534 65534\n" };
    assert_eq!(bench.shell(user, "echo $(id -u) $(id -g)"), expected);
    // Files outside belong to who they belong to.
    bench.shell(user, &format!("touch {0}/mine-$(id -u)", bench.directory.display()));
    let uid = if user == As::Root { 0 } else { 65534 };
    let metadata = std::fs::metadata(bench.directory.join(format!("mine-{uid}"))).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&metadata), uid);
}

fn only_the_device_and_loopback_are_inside(bench: &Bench, user: As) {
    let links = bench.shell(user, "ip -o link | cut -d: -f2");
    assert_eq!(links.split_whitespace().collect::<Vec<_>>(), ["lo", "tide0"]);
    let link = bench.shell(user, "ip -o link show tide0");
    assert!(link.contains("UP") && link.contains("mtu 1400"), "{link}");
    let addresses = bench.shell(user, "ip -o addr show tide0");
    assert!(addresses.contains("192.0.0.2/29"), "{addresses}");
    assert!(addresses.contains("fd00:7469:6465:6761::2/64"), "{addresses}");
    assert!(!addresses.contains("fe80") && !addresses.contains("tentative"), "{addresses}");
    assert!(bench.shell(user, "ip route get 198.51.100.1").contains("via 192.0.0.1 dev tide0 src 192.0.0.2"));
    assert!(bench.shell(user, "ip -6 route get 2001:db8::1").contains("via fd00:7469:6465:6761::1 dev tide0"));
    let range = bench.shell(user, "cat /proc/sys/net/ipv4/ping_group_range");
    let expected = if user == As::Root { "0 2147483647" } else { "65534 65534" };
    assert_eq!(range.split_whitespace().collect::<Vec<_>>().join(" "), expected);
}

fn no_capability_over_network_or_mounts_is_left(bench: &Bench, user: As) {
    const NET_ADMIN_SYS_ADMIN_SYS_PTRACE: u64 = 1 << 12 | 1 << 21 | 1 << 19;
    let status = bench.shell(user, "grep -E '^Cap(Prm|Eff|Bnd|Amb)' /proc/self/status");
    for line in status.lines() {
        let mask = u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap();
        let forbidden = if user == As::Root { NET_ADMIN_SYS_ADMIN_SYS_PTRACE } else { u64::MAX };
        assert_eq!(mask & forbidden, 0, "{line}");
    }
    assert!(!bench.run(user, &["ip", "route", "del", "default"]).status.success());
    assert!(!bench.run(user, &["nsenter", "--net=/proc/1/ns/net", "true"]).status.success());
}

fn names_are_asked_of_the_gateway(bench: &Bench, user: As) {
    let text = bench.shell(user, "cat /etc/resolv.conf");
    assert!(text.contains("nameserver 192.0.0.1\nsearch example.test\n"), "{text}");
}

fn sockets_are_hidden_unless_named(bench: &Bench, user: As) {
    use std::os::unix::fs::PermissionsExt;
    const CONNECT: &str = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])";
    let python = "/usr/bin/python3";
    let temporary = PathBuf::from(format!("/tmp/tidegate-contain-{}.sock", std::process::id()));
    let elsewhere = bench.directory.join("daemon.sock");
    for path in [&temporary, &elsewhere] {
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
        let path_text = path.to_str().unwrap();
        let hidden = bench.run(user, &[python, "-c", CONNECT, path_text]);
        assert!(!hidden.status.success(), "{path_text} is reachable");
        let errors = String::from_utf8_lossy(&hidden.stderr).into_owned();
        assert!(errors.contains("ConnectionRefusedError") || errors.contains("FileNotFoundError"), "{errors}");
        let named = bench.run(user, &[&format!("{SOCKET}{path_text}"), python, "-c", CONNECT, path_text]);
        assert!(named.status.success(), "{path_text}: {}", String::from_utf8_lossy(&named.stderr));
        let (mut stream, _) = listener.accept().unwrap();
        assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
        std::fs::remove_file(path).unwrap();
    }
}

fn the_mounts_cannot_be_taken_off(bench: &Bench, user: As) {
    assert_eq!(bench.shell(user, "ls -A /tmp"), "");
    assert!(!bench.run(user, &["umount", "/tmp"]).status.success());
    // Nor in namespaces that the command makes itself.
    let again = bench.run(user, &["unshare", "--user", "--map-root-user", "--mount", "umount", "/tmp"]);
    assert!(!again.status.success());
    assert!(Path::new("/tmp").read_dir().unwrap().next().is_some());
}
