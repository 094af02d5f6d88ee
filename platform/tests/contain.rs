//! Exec capture, driven by real programs. It starts itself again, as the gateway does, and so has a `main` of its own,
//! which answers a test runner as the usual one would: `--list [--ignored]`, then `--exact NAME`.
//!
//! Runs as root: each case once as root, and once as an ordinary user, in a mount namespace where `/dev/net/tun` is open
//! to everyone as distributions ship it. Nothing outside of namespaces is changed.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test program fails by panicking")]
#![expect(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test program reports on its standard streams"
)]

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_platform::apps::AppFinder;
use tidegate_platform::namespaces::{
    CONTAIN_ARGUMENT, ContainConfig, Contained, contain_main, exit_code,
};
use tidegate_policy::{App, Protocol};

/// Argument that names the program behind the first SYN that comes out of the device, then ends the command.
const ATTRIBUTE: &str = "--attribute";
/// Prefix of an argument that lets a socket in.
const SOCKET: &str = "--socket=";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next() {
        Some(first) if first == CONTAIN_ARGUMENT => {
            second_process(&arguments.next().unwrap_or_default())
        }
        Some(first) if first == "run" => first_process(arguments.collect()),
        Some(first) if first == "--list" => {
            if !arguments.any(|argument| argument == "--ignored") {
                list_cases();
            }
            ExitCode::SUCCESS
        }
        _ => run_cases(),
    }
}

fn second_process(descriptor: &OsString) -> ExitCode {
    match contain_main(descriptor) {
        Ok(never) => match never {},
        Err(_) => ExitCode::FAILURE,
    }
}

/// What `tidegate exec` does, without serving the device.
fn first_process(mut arguments: Vec<OsString>) -> ExitCode {
    let attribute = arguments
        .first()
        .is_some_and(|argument| argument == ATTRIBUTE);
    if attribute {
        arguments.remove(0);
    }
    let is_socket = |argument: &&OsString| {
        argument
            .to_str()
            .is_some_and(|text| text.starts_with(SOCKET))
    };
    let sockets = arguments
        .iter()
        .filter(is_socket)
        .filter_map(|text| text.to_str()?.strip_prefix(SOCKET))
        .map(PathBuf::from);
    let mut command = arguments
        .iter()
        .filter(|argument| !is_socket(argument))
        .cloned();
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
        // As every program that waits for another in its terminal does, or Ctrl-C would end it first. The command's process
        // exists already and does not inherit this; it has not started, so no Ctrl-C meant for it can come before.
        // SAFETY: ignoring a signal installs no handler.
        unsafe { libc::signal(libc::SIGINT, libc::SIG_IGN) };
        contained.command.start()?;
        if attribute {
            let program = attribute_first_syn(&mut contained);
            println!("{program}");
            contained.command.signal(libc::SIGKILL).unwrap();
        }
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

/// Reads the device until a SYN comes and looks up who sent it, from outside of the namespaces.
fn attribute_first_syn(contained: &mut Contained) -> String {
    const VIRTIO_HEADER: usize = 10;
    let tables = format!("/proc/{}/net", contained.command.pid()).into();
    let diag = contained.diag.pop().unwrap();
    let mut finder = AppFinder::new(diag, contained.device_index, tables, Arc::default());
    let mut device = std::fs::File::from(contained.tun.try_clone().unwrap());
    let mut packet = [0; 4096];
    loop {
        let length = device.read(&mut packet).unwrap();
        let Ok(sliced) = etherparse::SlicedPacket::from_ip(&packet[VIRTIO_HEADER..length]) else {
            continue;
        };
        let (Some(etherparse::NetSlice::Ipv4(ip)), Some(etherparse::TransportSlice::Tcp(tcp))) =
            (sliced.net, sliced.transport)
        else {
            continue;
        };
        let local = (ip.header().source_addr(), tcp.source_port()).into();
        let remote = (ip.header().destination_addr(), tcp.destination_port()).into();
        let socket = finder
            .find_socket(Protocol::Tcp, local, remote)
            .unwrap()
            .unwrap();
        let owners = finder.owners(&socket).unwrap();
        let describe = |app: &App| {
            format!(
                "{} {} {}",
                app.path.display(),
                app.uid,
                app.pid == contained.command.pid()
            )
        };
        return owners
            .apps
            .iter()
            .map(describe)
            .collect::<Vec<_>>()
            .join("\n");
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
        self.run_after("mount --bind /mnt/tun /dev/net/tun", user, arguments)
    }

    /// The same with another preparation, in which `/mnt/tun` is a device for everyone.
    fn run_after(&self, preparation: &str, user: As, arguments: &[&str]) -> Output {
        self.command(preparation, user, arguments).output().unwrap()
    }

    fn command(&self, preparation: &str, user: As, arguments: &[&str]) -> Command {
        let setup = format!(
            "set -e; mount -t tmpfs -o mode=0755 tidegate-test /mnt; mknod -m 0666 /mnt/tun c 10 200; \
             {preparation}; exec \"$@\""
        );
        let mut command = Command::new("unshare");
        command.args([
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            &setup,
            "sh",
        ]);
        if user == As::OrdinaryUser {
            command.args([
                "setpriv",
                "--reuid",
                "65534",
                "--regid",
                "65534",
                "--clear-groups",
                "--",
            ]);
        }
        command
            .arg(&self.program)
            .arg("run")
            .args(arguments)
            .current_dir("/")
            .env_remove("XDG_RUNTIME_DIR");
        command
    }

    /// A program of the same user that is not contained.
    fn outside(&self, user: As, arguments: &[&str]) -> Child {
        let (program, first) = if user == As::OrdinaryUser {
            let words = "setpriv --reuid 65534 --regid 65534 --clear-groups --";
            ("setpriv", words.split(' ').skip(1).collect())
        } else {
            ("env", Vec::new())
        };
        Command::new(program)
            .args(first)
            .args(arguments)
            .current_dir("/")
            .spawn()
            .unwrap()
    }

    /// Standard output of a shell script that has to succeed.
    fn shell(&self, user: As, script: &str) -> String {
        let output = self.run(user, &["sh", "-c", script]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{script:?} as {user:?}: {}\n{errors}",
            output.status
        );
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
    (
        "the_exit_status_is_the_commands",
        the_exit_status_is_the_commands,
    ),
    (
        "the_command_stays_the_same_user",
        the_command_stays_the_same_user,
    ),
    (
        "only_the_device_and_loopback_are_inside",
        only_the_device_and_loopback_are_inside,
    ),
    (
        "no_capability_over_network_or_mounts_is_left",
        no_capability_over_network_or_mounts_is_left,
    ),
    (
        "names_are_asked_of_the_gateway",
        names_are_asked_of_the_gateway,
    ),
    (
        "sockets_are_hidden_unless_named",
        sockets_are_hidden_unless_named,
    ),
    (
        "the_mounts_cannot_be_taken_off",
        the_mounts_cannot_be_taken_off,
    ),
    (
        "a_program_inside_is_named_from_outside",
        a_program_inside_is_named_from_outside,
    ),
    (
        "a_device_bound_socket_is_captured_too",
        a_device_bound_socket_is_captured_too,
    ),
    (
        "other_processes_of_the_user_are_out_of_reach",
        other_processes_of_the_user_are_out_of_reach,
    ),
    (
        "the_terminal_stays_and_its_signals_reach_the_command",
        the_terminal_stays_and_its_signals_reach_the_command,
    ),
    (
        "the_working_directory_below_tmp_stays",
        the_working_directory_below_tmp_stays,
    ),
    (
        "a_refusal_names_cause_and_remedy",
        a_refusal_names_cause_and_remedy,
    ),
];

fn list_cases() {
    for (name, _) in CASES {
        println!("{name}: test");
    }
}

/// Runs the cases whose names contain the first argument, or all; with `--exact` the one of that name.
fn run_cases() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let exact = arguments.iter().any(|argument| argument == "--exact");
    let wanted = arguments.iter().find(|argument| !argument.starts_with('-'));
    let is_wanted = |name: &str| match wanted {
        Some(wanted) if exact => name == wanted,
        Some(wanted) => name.contains(wanted.as_str()),
        None => true,
    };
    let bench = Bench::new();
    let before = network_of_host();
    let mut failures = 0;
    for (name, case) in CASES.iter().filter(|(name, _)| is_wanted(name)) {
        for user in [As::Root, As::OrdinaryUser] {
            let passed = std::panic::catch_unwind(|| case(&bench, user)).is_ok();
            println!(
                "test {name} as {user:?} ... {}",
                if passed { "ok" } else { "FAILED" }
            );
            failures += u32::from(!passed);
        }
    }
    assert_eq!(network_of_host(), before, "the host's network has changed");
    if failures == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Links and rules of the host, as text.
fn network_of_host() -> String {
    [
        vec!["-o", "addr"],
        vec!["rule"],
        vec!["route", "show", "table", "all"],
    ]
    .into_iter()
    .map(|arguments| {
        String::from_utf8_lossy(&Command::new("ip").args(arguments).output().unwrap().stdout)
            .into_owned()
    })
    .collect()
}

fn the_exit_status_is_the_commands(bench: &Bench, user: As) {
    let code = |arguments: &[&str]| bench.run(user, arguments).status.code();
    assert_eq!(code(&["true"]), Some(0));
    assert_eq!(code(&["sh", "-c", "exit 42"]), Some(42));
    assert_eq!(code(&["sh", "-c", "kill -TERM $$"]), Some(128 + 15));
    assert_eq!(code(&["no-such-program-here"]), Some(127));
    assert_eq!(code(&["/etc/passwd"]), Some(126));
}

fn the_command_stays_the_same_user(bench: &Bench, user: As) {
    let expected = if user == As::Root {
        "0 0\n"
    } else {
        "65534 65534\n"
    };
    assert_eq!(bench.shell(user, "echo $(id -u) $(id -g)"), expected);
    // Files outside belong to who they belong to.
    bench.shell(
        user,
        &format!("touch {0}/mine-$(id -u)", bench.directory.display()),
    );
    let uid = if user == As::Root { 0 } else { 65534 };
    let metadata = std::fs::metadata(bench.directory.join(format!("mine-{uid}"))).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&metadata), uid);
}

fn only_the_device_and_loopback_are_inside(bench: &Bench, user: As) {
    let links = bench.shell(user, "ip -o link | cut -d: -f2");
    assert_eq!(
        links.split_whitespace().collect::<Vec<_>>(),
        ["lo", "tide0"]
    );
    let link = bench.shell(user, "ip -o link show tide0");
    assert!(link.contains("UP") && link.contains("mtu 1400"), "{link}");
    let addresses = bench.shell(user, "ip -o addr show tide0");
    assert!(addresses.contains("192.0.0.2/29"), "{addresses}");
    assert!(
        addresses.contains("fd00:7469:6465:6761::2/64"),
        "{addresses}"
    );
    assert!(
        !addresses.contains("fe80") && !addresses.contains("tentative"),
        "{addresses}"
    );
    assert!(
        bench
            .shell(user, "ip route get 198.51.100.1")
            .contains("via 192.0.0.1 dev tide0 src 192.0.0.2")
    );
    assert!(
        bench
            .shell(user, "ip -6 route get 2001:db8::1")
            .contains("via fd00:7469:6465:6761::1 dev tide0")
    );
    let range = bench.shell(user, "cat /proc/sys/net/ipv4/ping_group_range");
    let expected = if user == As::Root {
        "0 2147483647"
    } else {
        "65534 65534"
    };
    assert_eq!(
        range.split_whitespace().collect::<Vec<_>>().join(" "),
        expected
    );
}

fn no_capability_over_network_or_mounts_is_left(bench: &Bench, user: As) {
    const NET_ADMIN_SYS_ADMIN_SYS_PTRACE: u64 = 1 << 12 | 1 << 21 | 1 << 19;
    // An ordinary user's bounding set stays whole, but nothing can be regained up to it.
    let (sets, forbidden) = match user {
        As::Root => ("Prm|Eff|Bnd|Amb", NET_ADMIN_SYS_ADMIN_SYS_PTRACE),
        As::OrdinaryUser => ("Prm|Eff|Inh|Amb", u64::MAX),
    };
    let status = bench.shell(user, &format!("grep -E '^Cap({sets})' /proc/self/status"));
    assert_eq!(status.lines().count(), 4, "{status}");
    for line in status.lines() {
        let mask = u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap();
        assert_eq!(mask & forbidden, 0, "{line}");
    }
    if user == As::OrdinaryUser {
        let status = bench.shell(user, "grep ^NoNewPrivs /proc/self/status");
        assert_eq!(status.split_whitespace().last(), Some("1"));
    }
    assert!(
        !bench
            .run(user, &["ip", "route", "del", "default"])
            .status
            .success()
    );
    assert!(
        !bench
            .run(user, &["nsenter", "--net=/proc/1/ns/net", "true"])
            .status
            .success()
    );
}

fn names_are_asked_of_the_gateway(bench: &Bench, user: As) {
    let text = bench.shell(user, "cat /etc/resolv.conf");
    assert!(
        text.contains("nameserver 192.0.0.1\nsearch example.test\n"),
        "{text}"
    );
}

fn sockets_are_hidden_unless_named(bench: &Bench, user: As) {
    use std::os::unix::fs::PermissionsExt;
    const CONNECT: &str =
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])";
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
        assert!(
            errors.contains("ConnectionRefusedError") || errors.contains("FileNotFoundError"),
            "{errors}"
        );
        let named = bench.run(
            user,
            &[
                &format!("{SOCKET}{path_text}"),
                python,
                "-c",
                CONNECT,
                path_text,
            ],
        );
        assert!(
            named.status.success(),
            "{path_text}: {}",
            String::from_utf8_lossy(&named.stderr)
        );
        let (mut stream, _) = listener.accept().unwrap();
        assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
        std::fs::remove_file(path).unwrap();
    }
}

fn the_mounts_cannot_be_taken_off(bench: &Bench, user: As) {
    assert_eq!(bench.shell(user, "ls -A /tmp"), "");
    assert!(!bench.run(user, &["umount", "/tmp"]).status.success());
    // Nor in namespaces that the command makes itself.
    let again = bench.run(
        user,
        &[
            "unshare",
            "--user",
            "--map-root-user",
            "--mount",
            "umount",
            "/tmp",
        ],
    );
    assert!(!again.status.success());
    assert!(Path::new("/tmp").read_dir().unwrap().next().is_some());
}

/// A Python program that opens a TCP connection which nobody answers.
const CONNECT_OUT: &str =
    "import socket; s = socket.socket(); s.settimeout(20); s.connect(('198.51.100.1', 443))";

fn python() -> String {
    Path::new("/usr/bin/python3")
        .canonicalize()
        .unwrap()
        .display()
        .to_string()
}

fn a_program_inside_is_named_from_outside(bench: &Bench, user: As) {
    let uid = if user == As::Root { 0 } else { 65534 };
    // The command itself, and a child of the command.
    let itself = bench.run(user, &[ATTRIBUTE, &python(), "-c", CONNECT_OUT]);
    let expected = format!("{} {uid} true\n", python());
    assert_eq!(
        String::from_utf8_lossy(&itself.stdout),
        expected,
        "{itself:?}"
    );
    // Only the command is ended; its child, which waits on, must not hold the standard streams open.
    let script = format!(
        "exec >/dev/null 2>&1; {} -c \"{CONNECT_OUT}\"; true",
        python()
    );
    let child = bench.run(user, &[ATTRIBUTE, "timeout", "2", "sh", "-c", &script]);
    let expected = format!("{} {uid} false\n", python());
    assert_eq!(
        String::from_utf8_lossy(&child.stdout),
        expected,
        "{child:?}"
    );
}

fn a_device_bound_socket_is_captured_too(bench: &Bench, user: As) {
    let bound = CONNECT_OUT.replace(
        "s.settimeout",
        "s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b'tide0'); s.settimeout",
    );
    let output = bench.run(user, &[ATTRIBUTE, &python(), "-c", &bound]);
    assert!(
        String::from_utf8_lossy(&output.stdout).starts_with(&python()),
        "{output:?}"
    );
    let uplink = "import socket; s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b'eth0')";
    assert!(!bench.run(user, &[&python(), "-c", uplink]).status.success());
}

fn other_processes_of_the_user_are_out_of_reach(bench: &Bench, user: As) {
    let mut outside = bench.outside(user, &["sleep", "600"]);
    let pid = outside.id();
    for file in ["root/etc/passwd", "cwd/etc/passwd", "environ", "mem"] {
        let output = bench.run(user, &["head", "-c1", &format!("/proc/{pid}/{file}")]);
        assert!(
            !output.status.success(),
            "{file} of an outside process can be read"
        );
    }
    assert!(
        !bench
            .run(
                user,
                &["nsenter", "--target", &pid.to_string(), "--net", "true"]
            )
            .status
            .success()
    );
    outside.kill().unwrap();
    outside.wait().unwrap();
}

fn the_terminal_stays_and_its_signals_reach_the_command(bench: &Bench, user: As) {
    // `script` gives a terminal; the command is in its foreground process group, so it may read from it and gets Ctrl-C.
    let inner = "test -t 0 && test -t 1 && tty >/dev/null && trap 'echo interrupted; exit 7' INT && echo ready && \
        while :; do sleep 0.05; done";
    let mut command = bench.command(
        "mount --bind /mnt/tun /dev/net/tun",
        user,
        &["sh", "-c", inner],
    );
    let words: Vec<String> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| format!("'{}'", word.to_str().unwrap().replace('\'', "'\\''")))
        .collect();
    // `script` runs the words with $SHELL. Without `exec` a shell may wait for them, and would die of the Ctrl-C itself.
    command = Command::new("script");
    command
        .args(["-qefc", &format!("exec {}", words.join(" ")), "/dev/null"])
        .current_dir("/")
        .env("SHELL", "/bin/sh")
        .env_remove("XDG_RUNTIME_DIR");
    let mut terminal = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = terminal.stdout.take().unwrap();
    let mut seen = String::new();
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut read_until = |wanted: &str| {
        while !seen.contains(wanted) {
            assert!(Instant::now() < deadline, "{seen:?} lacks {wanted:?}");
            let mut bytes = [0; 256];
            let length = output.read(&mut bytes).unwrap();
            assert!(length > 0, "{seen:?} lacks {wanted:?}");
            seen.push_str(&String::from_utf8_lossy(&bytes[..length]));
        }
    };
    read_until("ready");
    let mut input = terminal.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, b"\x03").unwrap();
    read_until("interrupted");
    drop(input);
    assert_eq!(terminal.wait().unwrap().code(), Some(7));
}

fn the_working_directory_below_tmp_stays(bench: &Bench, user: As) {
    use std::os::unix::fs::PermissionsExt;
    let directory = PathBuf::from(format!("/tmp/tidegate-work-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o777)).unwrap();
    std::fs::write(
        directory.join("script"),
        "#!/bin/sh\necho from $PWD > result; ls -A /tmp | wc -l\n",
    )
    .unwrap();
    std::fs::set_permissions(
        directory.join("script"),
        std::fs::Permissions::from_mode(0o755),
    )
    .unwrap();
    let script = directory.join("script");
    let mut command = bench.command(
        "mount --bind /mnt/tun /dev/net/tun",
        user,
        &[script.to_str().unwrap()],
    );
    let output = command.current_dir(&directory).output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        "1",
        "{output:?}"
    );
    let result = std::fs::read_to_string(directory.join("result")).unwrap();
    assert_eq!(result.trim(), format!("from {}", directory.display()));
    std::fs::remove_dir_all(directory).unwrap();
}

fn a_refusal_names_cause_and_remedy(bench: &Bench, user: As) {
    let refused = |preparation: &str, cause: &str, remedy: &str| {
        let output = bench.run_after(preparation, user, &["true"]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(125), "{errors}");
        assert!(
            errors.contains(cause) && errors.contains(remedy),
            "{errors}"
        );
    };
    refused(
        "mount -t tmpfs none /dev/net",
        "/dev/net/tun is missing",
        "modprobe tun",
    );
    if user == As::OrdinaryUser {
        let closed = "chmod 0600 /mnt/tun; mount --bind /mnt/tun /dev/net/tun";
        refused(
            closed,
            "may not be opened by this user",
            "chmod 0666 /dev/net/tun",
        );
    }
    // The limit is counted for each user namespace, so a namespace around the test can have one of its own.
    let limited = "mount --bind /mnt/tun /dev/net/tun; set -- unshare --user --map-root-user sh -c \
        'echo 0 > /proc/sys/user/max_user_namespaces; exec \"$@\"' sh \"$@\"";
    if user == As::Root {
        refused(
            limited,
            "user namespaces are turned off",
            "sysctl user.max_user_namespaces=15000",
        );
    }
}
