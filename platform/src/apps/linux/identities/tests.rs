use std::io::Write;
use std::process::Command;

use super::*;
use crate::apps::linux::running::Running;

/// A folder that stands for the host's root; nobody but us and root may write there.
pub(in crate::apps::linux::identities) struct Root(PathBuf);

impl Root {
    pub(in crate::apps::linux::identities) fn new() -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // Not in a folder for temporary files, which everybody may write into.
        let tests = std::env::current_exe().unwrap();
        let name = format!("identities-{}-{number}", std::process::id());
        let folder = tests.parent().unwrap().join(name);
        fs::create_dir(&folder).unwrap();
        Self(fs::canonicalize(folder).unwrap())
    }

    pub(in crate::apps::linux::identities) fn path(&self) -> &Path {
        &self.0
    }

    pub(in crate::apps::linux::identities) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    fn copy(&self, from: &str, name: &str) -> PathBuf {
        let path = self.write(name, "");
        fs::copy(from, &path).unwrap();
        path
    }

    fn identities(&self) -> Identities {
        let own = rustix::process::getuid().as_raw();
        Identities::beneath(self.0.clone(), vec![0, own])
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// A shell, by this path, that does nothing.
fn idle(path: &Path) -> Running {
    Running::new(Command::new(path).args(["-c", WAIT]))
}

fn app_of(running: &Running) -> App {
    let program = running.program();
    App {
        name: program.name,
        pid: running.0.id(),
        command_line: program.command_line,
        parents: program.parents,
        unit: program.unit,
        container: program.container,
        ..App::new(program.path, 0)
    }
}

const WAIT: &str = "echo ready; read end; true";

fn shell() -> String {
    let shell = fs::canonicalize("/bin/sh").unwrap();
    shell.into_os_string().into_string().unwrap()
}

fn at(identities: &Identities, app: &App, level: Level) -> Found {
    let completed = identities.complete(app, Levels::NONE.with(level));
    assert_eq!(completed.identity.looked_at(), Levels::NONE.with(level));
    completed.identity.at(level).to_owned()
}

fn is(value: impl Into<Box<str>>) -> Found {
    Fact::Is(value.into())
}

/// The host's own: this machine has Debian's packages.
#[test]
fn a_package_s_program_is_known_by_its_package_and_a_copy_of_it_is_not() {
    let identities = Identities::default();
    if fs::metadata("/var/lib/dpkg/status").is_err() {
        return;
    }
    let shell = shell();
    let program = idle(Path::new(&shell));
    let owner = Command::new("dpkg").args(["-S", &shell]).output().unwrap();
    let owner = match owner.stdout.is_empty() {
        // Its list may have it by the name before the merge of /usr.
        true => {
            let alias = shell.strip_prefix("/usr").unwrap();
            Command::new("dpkg")
                .args(["-S", alias])
                .output()
                .unwrap()
                .stdout
        }
        false => owner.stdout,
    };
    let owner = String::from_utf8(owner).unwrap();
    let owner = owner.split(':').next().unwrap();
    let package = at(&identities, &app_of(&program), Level::Package);
    assert_eq!(package, is(format!("deb:{owner}")));

    let root = Root::new();
    let copy = idle(&root.copy(&shell, "bin/dash"));
    assert_eq!(
        at(&identities, &app_of(&copy), Level::Package),
        Fact::Absent
    );
}

#[test]
fn a_package_s_name_for_a_file_counts_only_where_nobody_else_may_put_one() {
    use std::os::unix::fs::PermissionsExt;
    let root = Root::new();
    let program = root.copy(&shell(), "opt/tool");
    root.write(
        "var/lib/dpkg/info/tool.list",
        &format!("{}\n", program.display()),
    );
    root.write("var/lib/dpkg/status", "");
    let running = idle(&program);
    let app = app_of(&running);
    assert_eq!(at(&root.identities(), &app, Level::Package), is("deb:tool"));
    let folder = program.parent().unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(at(&root.identities(), &app, Level::Package), Fact::Absent);
}

#[test]
fn a_package_that_is_installed_later_is_known_then() {
    let root = Root::new();
    let program = root.copy(&shell(), "opt/tool");
    root.write("var/lib/dpkg/status", "");
    let identities = root.identities();
    let first = idle(&program);
    assert_eq!(
        at(&identities, &app_of(&first), Level::Package),
        Fact::Absent
    );
    root.write(
        "var/lib/dpkg/info/tool.list",
        &format!("{}\n", program.display()),
    );
    root.write("var/lib/dpkg/status", "tool");
    let begin = std::time::Instant::now();
    loop {
        let later = idle(&program);
        if at(&identities, &app_of(&later), Level::Package) == is("deb:tool") {
            break;
        }
        assert!(begin.elapsed().as_secs() < 20);
    }
}

#[test]
fn scripts_are_told_apart_where_they_are_files() {
    let root = Root::new();
    let identities = root.identities();
    let good = root.write("good.sh", &format!("{WAIT}\n"));
    let of =
        |command: &mut Command| at(&identities, &app_of(&Running::new(command)), Level::Script);
    let path = is(good.to_str().unwrap());
    assert_eq!(of(Command::new("/bin/bash").arg(&good)), path);
    assert_eq!(
        of(Command::new("/bin/sh")
            .args(["-e", "./good.sh"])
            .current_dir(root.path())),
        path
    );
    std::os::unix::fs::symlink(&good, root.path().join("link.sh")).unwrap();
    assert_eq!(
        of(Command::new("/bin/bash").arg(root.path().join("link.sh"))),
        path
    );
    assert_eq!(
        of(Command::new("/bin/bash").args(["-c", WAIT])),
        Fact::Absent
    );
    let python = "print('ready', flush=True); import sys; sys.stdin.read()";
    let python = root.write("good.py", python);
    assert_eq!(
        of(Command::new("/usr/bin/python3").arg(&python)),
        is(python.to_str().unwrap())
    );
    // What it was told to run is gone, so nobody can say what that was.
    let gone = Running::new(Command::new("/bin/bash").arg(&good));
    let app = app_of(&gone);
    fs::remove_file(&good).unwrap();
    assert_eq!(at(&identities, &app, Level::Script), Fact::Unknown);
    // That may have been a passing failure.
    root.write("good.sh", WAIT);
    assert_eq!(at(&identities, &app, Level::Script), path);
}

#[test]
fn a_digest_is_that_of_what_runs_also_where_it_was_replaced_or_removed() {
    let root = Root::new();
    let identities = root.identities();
    let program = root.copy(&shell(), "tool");
    let sum = |path: &Path| {
        let output = Command::new("sha256sum").arg(path).output().unwrap();
        String::from_utf8(output.stdout).unwrap()[..64].to_owned()
    };
    let first = idle(&program);
    let digest = is(sum(&program));
    assert_eq!(at(&identities, &app_of(&first), Level::Sha256), digest);
    assert_eq!(
        at(&identities, &app_of(&first), Level::Deleted),
        is("false")
    );
    // Replaced by renaming: the one that runs is what it was.
    let other = root.copy(&shell(), "other");
    fs::OpenOptions::new()
        .append(true)
        .open(&other)
        .unwrap()
        .write_all(b"x")
        .unwrap();
    fs::rename(&other, &program).unwrap();
    assert_eq!(at(&identities, &app_of(&first), Level::Sha256), digest);
    assert_eq!(at(&identities, &app_of(&first), Level::Deleted), is("true"));
    let second = idle(&program);
    assert_eq!(
        at(&identities, &app_of(&second), Level::Sha256),
        is(sum(&program))
    );
    assert_ne!(at(&identities, &app_of(&second), Level::Sha256), digest);
    drop(second);
    // Replaced in place.
    fs::OpenOptions::new()
        .append(true)
        .open(&program)
        .unwrap()
        .write_all(b"y")
        .unwrap();
    let third = idle(&program);
    assert_eq!(
        at(&identities, &app_of(&third), Level::Sha256),
        is(sum(&program))
    );
    fs::remove_file(&program).unwrap();
    assert_eq!(at(&identities, &app_of(&third), Level::Deleted), is("true"));
}

#[test]
fn a_library_from_where_others_may_write_is_a_preload_whatever_its_way_in() {
    let root = Root::new();
    let identities = root.identities();
    let of = |command: &mut Command| {
        at(
            &identities,
            &app_of(&Running::new(command.args(["-c", WAIT]))),
            Level::Preload,
        )
    };
    let shell = shell();
    assert_eq!(of(&mut Command::new(&shell)), is("false"));
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let libc = maps.lines().find_map(|line| {
        let path = line.split_ascii_whitespace().nth(5)?;
        path.contains("/libc.so").then_some(path)
    });
    let libc = libc.expect("a dynamic libc");
    let own = root.copy(libc, "lib/libc.so.6");
    let safe = |name: &str| format!("{name}={}", own.display());
    let with = |setting: &str| {
        let (name, value) = setting.split_once('=').unwrap();
        let mut command = Command::new(&shell);
        command.env(name, value);
        command
    };
    assert_eq!(
        of(&mut with(&safe("LD_PRELOAD"))),
        is("false"),
        "root's own"
    );
    use std::os::unix::fs::PermissionsExt;
    let mode = |mode| fs::set_permissions(&own, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o757);
    assert_eq!(of(&mut with(&safe("LD_PRELOAD"))), is("true"));
    assert_eq!(of(&mut with(&safe("LD_AUDIT"))), is("true"));
    // No variable of these two names it, but it is mapped.
    let folder = own.parent().unwrap().display();
    let by_path = of(&mut with(&format!("LD_LIBRARY_PATH={folder}")));
    assert_eq!(by_path, is("true"));
    mode(0o755);
    assert_eq!(
        of(&mut with(&format!("LD_LIBRARY_PATH={folder}"))),
        is("false")
    );
}

#[test]
fn a_tracer_is_seen_while_it_traces() {
    let identities = Identities::default();
    let program = idle(Path::new(&shell()));
    let app = app_of(&program);
    assert_eq!(at(&identities, &app, Level::Traced), is("false"));
    let pid = program.0.id();
    let attach = format!(
        "import ctypes, sys\nc = ctypes.CDLL(None)\nassert c.ptrace(0x4206, {pid}, 0, 0) == 0\n\
         print('ready', flush=True)\nsys.stdin.read()"
    );
    let tracer = Running::new(Command::new("/usr/bin/python3").args(["-c", &attach]));
    assert_eq!(at(&identities, &app, Level::Traced), is("true"));
    drop(tracer);
    assert_eq!(at(&identities, &app, Level::Traced), is("false"));
}

#[test]
fn who_has_ended_is_known_by_its_path_only() {
    let identities = Identities::default();
    let program = idle(Path::new(&shell()));
    let app = app_of(&program);
    drop(program);
    for level in Level::ALL {
        let found = at(&identities, &app, level);
        let by_path = matches!(level, Level::Package | Level::Snap);
        assert_eq!(found == Fact::Unknown, !by_path, "{level}: {found:?}");
    }
}

#[test]
fn groups_and_control_groups_are_read() {
    let identities = Identities::default();
    let program = idle(Path::new(&shell()));
    let app = app_of(&program);
    let gid = rustix::process::getegid().as_raw();
    assert_eq!(at(&identities, &app, Level::Gid), is(gid.to_string()));
    if gid == 0 {
        assert_eq!(at(&identities, &app, Level::Group), is("root"));
    }
    let text = fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = cgroup::parse(&text);
    assert_eq!(
        at(&identities, &app, Level::Slice),
        fact(own.slice.as_deref())
    );
    let absent = [Level::Flatpak, Level::Snap, Level::AppImage];
    for level in absent {
        assert_eq!(at(&identities, &app, level), Fact::Absent, "{level}");
    }
}

/// In mounts of its own, as flatpak makes them.
#[test]
fn a_flatpak_is_the_one_whose_file_it_runs_whatever_it_says() {
    let root = Root::new();
    let app = root.path().join("var/lib/flatpak/app");
    for name in ["org.good", "org.bad"] {
        root.copy(
            &shell(),
            &format!("var/lib/flatpak/app/{name}/x/files/bin/tool"),
        );
    }
    let info = |name: &str, files: &str| {
        let text = format!("[Application]\nname={name}\n\n[Instance]\napp-path={files}\n");
        root.write("info", &text);
    };
    let run = |name: &str| {
        let script = format!(
            "mount -t tmpfs none /mnt; mkdir /mnt/app /mnt/old; cp {info} /mnt/.flatpak-info; for d in usr lib lib64 bin proc dev; do \
             test -e /$d && mkdir /mnt/$d && mount --rbind /$d /mnt/$d; done; mount --bind {files} /mnt/app; \
             cd /mnt; pivot_root . old; \
             exec /app/bin/tool -c '{WAIT}'",
            info = root.path().join("info").display(),
            files = app.join(name).join("x/files").display(),
        );
        let mut command = Command::new("unshare");
        Running::new(command.args([
            "--mount",
            "--propagation",
            "private",
            "/bin/sh",
            "-ec",
            &script,
        ]))
    };
    let files = |name: &str| app.join(name).join("x/files").display().to_string();
    let identities = root.identities();
    let flatpak = |running: &Running| at(&identities, &app_of(running), Level::Flatpak);
    info("org.good", &files("org.good"));
    assert_eq!(flatpak(&run("org.good")), is("org.good"));
    assert_eq!(flatpak(&run("org.bad")), Fact::Absent, "another's file");
    info("org.good", &files("org.bad"));
    assert_eq!(flatpak(&run("org.bad")), Fact::Absent, "another's folder");
    info(
        "org.good",
        &format!("{}/../../../org.bad/x/files", files("org.good")),
    );
    assert_eq!(flatpak(&run("org.bad")), Fact::Absent, "by a way round");
}
