use std::io::Write;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::*;
use crate::apps::SocketState;

/// A socket, and what the kernel would tell of it.
fn socket() -> (UdpSocket, SocketInfo) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let link = std::fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap();
    let inode = link
        .to_str()
        .unwrap()
        .trim_start_matches("socket:[")
        .trim_end_matches(']')
        .parse()
        .unwrap();
    let state = SocketState::Unconnected;
    (
        socket,
        SocketInfo {
            uid: 0,
            inode,
            cookie: 0,
            state,
            mark: None,
            device: None,
        },
    )
}

/// A child that holds the socket as its standard input.
fn holder(program: &Path, socket: &UdpSocket) -> Child {
    let socket: std::os::fd::OwnedFd = socket.try_clone().unwrap().into();
    Command::new(program)
        .arg("600")
        .stdin(Stdio::from(socket))
        .spawn()
        .unwrap()
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

fn pids(owners: &Owners) -> Vec<u32> {
    let mut pids: Vec<u32> = owners.apps.iter().map(|app| app.pid).collect();
    pids.sort_unstable();
    pids
}

fn copy_of_sleep(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("tidegate-{name}-{}", std::process::id()));
    std::fs::copy("/bin/sleep", &path).unwrap();
    path
}

#[test]
fn every_holder_of_a_shared_socket_is_named() {
    let (socket, info) = socket();
    let child = holder(Path::new("/bin/sleep"), &socket);
    let mut expected = vec![std::process::id(), child.id()];
    expected.sort_unstable();
    let processes = Processes::default();
    let owners = processes.owners(&info).unwrap();
    assert_eq!(pids(&owners), expected);
    let sleep = owners
        .apps
        .iter()
        .find(|app| app.pid == child.id())
        .unwrap();
    assert_eq!(sleep.path, Path::new("/bin/sleep").canonicalize().unwrap());
    assert_eq!(sleep.command_line, ["/bin/sleep", "600"]);
    assert_eq!(
        sleep.parents.first(),
        Some(&std::env::current_exe().unwrap())
    );
    end(child);
    assert_eq!(
        pids(&processes.owners(&info).unwrap()),
        [std::process::id()]
    );
}

#[test]
fn a_holder_of_another_user_is_found() {
    let (socket, info) = socket();
    let child = holder(Path::new("/bin/sleep"), &socket);
    drop(socket);
    let other = SocketInfo {
        uid: 4_000_000,
        ..info
    };
    assert_eq!(
        pids(&Processes::default().owners(&other).unwrap()),
        [child.id()]
    );
    end(child);
}

#[test]
fn a_deleted_executable_keeps_its_name_and_an_odd_name_is_kept_whole() {
    let (socket, info) = socket();
    for (name, delete) in [("gone", true), ("odd (deleted)", false)] {
        let program = copy_of_sleep(name);
        let child = holder(&program, &socket);
        if delete {
            std::fs::remove_file(&program).unwrap();
        }
        let owners = Processes::default().owners(&info).unwrap();
        let app = owners
            .apps
            .iter()
            .find(|app| app.pid == child.id())
            .unwrap();
        assert_eq!(app.path, program);
        end(child);
        let _ = std::fs::remove_file(&program);
    }
}

#[test]
fn a_remembered_process_id_with_another_start_time_is_not_believed() {
    let (_socket, info) = socket();
    let processes = Processes::default();
    processes.owners(&info).unwrap();
    // As if the process that was seen had ended and another had got its id and descriptor.
    let mut memory = processes.memory();
    memory
        .searches
        .get_mut(&SocketKey::from(&info))
        .unwrap()
        .holders[0]
        .process
        .started += 1;
    drop(memory);
    assert_eq!(processes.owners_cached(&info), None);
    assert_eq!(
        pids(&processes.owners(&info).unwrap()),
        [std::process::id()]
    );
}

#[test]
fn a_remembered_descriptor_that_is_another_file_is_not_believed() {
    let (socket, info) = socket();
    let processes = Processes::default();
    processes.owners(&info).unwrap();
    let wrong = u32::try_from(socket.as_raw_fd()).unwrap() + 1;
    let mut memory = processes.memory();
    memory
        .searches
        .get_mut(&SocketKey::from(&info))
        .unwrap()
        .holders[0]
        .descriptor = wrong;
    drop(memory);
    assert_eq!(processes.owners_cached(&info), None);
}

#[test]
fn a_process_that_became_another_program_is_read_anew() {
    let (socket, info) = socket();
    let program = copy_of_sleep("after-exec");
    let held: std::os::fd::OwnedFd = socket.try_clone().unwrap().into();
    let script = format!("read line; exec {} 600", program.display());
    let mut child = Command::new("/bin/bash")
        .args(["-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::from(held))
        .spawn()
        .unwrap();
    let (processes, pid) = (Processes::default(), child.id());
    let path_of_child = || {
        let owners = processes.owners(&info).unwrap();
        owners
            .apps
            .iter()
            .find(|app| app.pid == pid)
            .unwrap()
            .path
            .clone()
    };
    assert_eq!(
        path_of_child(),
        Path::new("/bin/bash").canonicalize().unwrap()
    );
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    let link = format!("/proc/{pid}/exe");
    let deadline = Instant::now() + Duration::from_secs(10);
    while std::fs::read_link(&link).unwrap() != program {
        assert!(Instant::now() < deadline, "bash does not exec");
    }
    // What was remembered a moment ago is not what is there now.
    let cached = processes.owners_cached(&info).map(|owners| pids(&owners));
    assert_eq!(cached, Some(pids(&processes.owners(&info).unwrap())));
    assert_eq!(path_of_child(), program);
    end(child);
    std::fs::remove_file(program).unwrap();
}

#[test]
fn without_a_holder_nobody_is_named() {
    let (socket, info) = socket();
    drop(socket);
    let processes = Processes::default();
    assert_eq!(processes.owners(&info), Err(Unattributed::NoProcess));
    assert_eq!(
        processes.owners(&SocketInfo { inode: 0, ..info }),
        Err(Unattributed::NoProcess)
    );
}

#[test]
fn a_quick_look_finds_the_maker_and_a_child_that_shares() {
    let processes = Processes::default();
    let (first, info) = socket();
    // Nothing led to this process yet, and others may have been started since.
    processes.owners(&info).unwrap();
    drop(first);
    let (socket, info) = socket();
    let alone = processes.owners_nearby(&info).unwrap();
    assert_eq!(
        (pids(&alone), alone.coverage),
        (vec![std::process::id()], Coverage::Nearby)
    );
    processes.memory().searches.clear();
    let child = holder(Path::new("/bin/sleep"), &socket);
    let together = processes.owners_nearby(&info).unwrap();
    assert!(pids(&together).contains(&child.id()), "{together:?}");
    assert!(
        pids(&together).contains(&std::process::id()),
        "{together:?}"
    );
    // The long search is not content with what the quick one found.
    assert_eq!(
        processes.owners(&info).unwrap().coverage,
        Coverage::Everything
    );
    end(child);
}

#[test]
fn a_process_that_is_known_is_not_searched_for_until_a_child_shares() {
    let processes = Processes::default();
    let (first, info) = socket();
    processes.owners(&info).unwrap();
    drop(first);
    let (socket, info) = socket();
    let apps = processes.familiar(&info).unwrap().apps;
    assert_eq!(apps.first().map(|app| app.pid), Some(std::process::id()));
    let child = holder(Path::new("/bin/sleep"), &socket);
    assert!(processes.familiar(&info).is_err());
    end(child);
}

#[test]
fn a_quick_look_goes_up_to_the_parent() {
    let (socket, info) = socket();
    let child = holder(Path::new("/bin/sleep"), &socket);
    let seen = Seen {
        pid: child.id(),
        descriptor: 0,
    };
    let found = search::nearby(&info, Some(seen));
    let holders: Vec<u32> = found
        .holders
        .iter()
        .map(|(process, _)| process.pid)
        .collect();
    assert!(holders.contains(&std::process::id()), "{holders:?}");
    end(child);
}

#[test]
fn a_thread_is_named_as_its_process() {
    let (_socket, info) = socket();
    // This test runs on a thread with an id of its own, which is among the newest.
    let found = search::nearby(&info, None);
    if let Some((process, _)) = found.holders.first() {
        assert_eq!(process.pid, std::process::id());
    }
    let thread = ProcessDirectory::open(
        u32::try_from(rustix::thread::gettid().as_raw_nonzero().get()).unwrap(),
    );
    assert_eq!(thread.unwrap().process_id().unwrap(), std::process::id());
}

#[test]
fn a_look_does_not_wait_for_another_that_takes_long() {
    let (socket, info) = socket();
    let program = copy_of_sleep("waits");
    let child = holder(&program, &socket);
    drop(socket);
    let processes = Processes::default();
    let long = processes.familiars();
    let found = processes.owners_nearby(&info);
    drop(long);
    assert_eq!(pids(&found.unwrap()), [child.id()]);
    end(child);
    std::fs::remove_file(program).unwrap();
}
