//! Rules about what programs are rather than where they lie, and programs that try to pass for others, under either capture.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tidegate_lab::{Capture, Lab, Session, User, service, under_both_captures, wait_until};

const PORT: u16 = 9;
const PATIENCE: Duration = Duration::from_secs(20);
/// What Python programs do: connect, and say how that ended.
const CALL: &str = "
import errno, socket
s = socket.socket()
s.settimeout(5)
try:
    s.connect(('203.0.113.10', 9))
    print('connected', flush=True)
except OSError as error:
    print(errno.errorcode.get(error.errno, 'timeout'), flush=True)
";
/// The same in bash.
const SHELL_CALL: &str =
    "if exec 3<>/dev/tcp/203.0.113.10/9; then echo connected; else echo refused; fi 2>/dev/null";

under_both_captures! {
    a_package_s_program_passes_and_nothing_that_takes_its_name,
    a_script_passes_and_no_other_under_its_interpreter,
    a_digest_passes_wherever_it_lies_and_not_what_was_put_in_its_place,
    a_preloaded_or_traced_program_is_another,
    what_was_deleted_while_it_ran_is_told,
    a_reload_that_asks_for_more_cuts_the_one_script_and_leaves_the_other,
    records_say_what_programs_are_without_any_rule,
}

/// Only what `condition` describes may pass.
fn only(condition: &str) -> String {
    format!(
        "[policy]\ndefault = \"block\"\n[[rule]]\nname = \"only\"\napp = {condition}\naction = \"allow\"\n"
    )
}

fn python() -> Result<PathBuf> {
    fs::canonicalize("/usr/bin/python3").context("no Python of the system")
}

fn ensure_says(session: &Session<'_>, script: &str, expected: &str) -> Result<()> {
    let said = session.bash(script)?;
    let word = said.stdout.clone();
    let is_refused = expected == "refused" && word.starts_with("ECONN");
    ensure!(word == expected || is_refused, "{script}: {said:?}");
    Ok(())
}

fn executable(path: &Path) -> Result<()> {
    Ok(fs::set_permissions(
        path,
        fs::Permissions::from_mode(0o755),
    )?)
}

fn a_package_s_program_passes_and_nothing_that_takes_its_name(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let _sink = service::Sink::start(&lab.server, PORT)?;
    let session = lab.captured(capture, &only("{ package = \"deb:bash\" }"))?;
    let call = |program: &str| format!("{program} -c '{SHELL_CALL}'");
    ensure_says(&session, &call("/bin/bash"), "connected")?;
    let flow = session.gateway().flow_to("203.0.113.10:9")?;
    ensure!(flow["app"]["identity"]["package"] == "deb:bash", "{flow}");
    let copy = lab.program("/bin/bash", "bash")?.display().to_string();
    ensure_says(&session, &call(&copy), "refused")?;
    // A link is the program itself; a name is not.
    let link = lab.folder().join("link");
    std::os::unix::fs::symlink("/bin/bash", &link)?;
    ensure_says(&session, &call(&link.display().to_string()), "connected")?;
    let hard = lab.folder().join("hard");
    if fs::hard_link("/bin/bash", &hard).is_ok() {
        ensure_says(&session, &call(&hard.display().to_string()), "refused")?;
    }
    let renamed = format!("(exec -a /bin/bash {copy} -c '{SHELL_CALL}')");
    ensure_says(&session, &renamed, "refused")?;
    let in_its_place = format!(
        "unshare --user --map-root-user --mount /bin/sh -c \"mount --bind {copy} /bin/bash; exec /bin/bash -c '{SHELL_CALL}'\""
    );
    ensure_says(&session, &in_its_place, "refused")
}

fn a_script_passes_and_no_other_under_its_interpreter(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let _sink = service::Sink::start(&lab.server, PORT)?;
    let python = python()?.display().to_string();
    let good = lab.file("good.py", CALL)?.display().to_string();
    let bad = lab.file("bad.py", CALL)?.display().to_string();
    let run = lab.file("run.sh", format!("#!/bin/bash\n{SHELL_CALL}\n"))?;
    let other = lab.file("other.sh", format!("#!/bin/bash\n{SHELL_CALL}\n"))?;
    executable(&run)?;
    executable(&other)?;
    let run = run.display().to_string();
    let condition =
        format!("{{ path = [\"{python}\", \"/usr/bin/bash\"], script = [\"{good}\", \"{run}\"] }}");
    let session = lab.captured(capture, &only(&condition))?;
    let folder = lab.folder().display();
    for script in [
        format!("{python} {good}"),
        format!("cd {folder}; {python} -u good.py"),
        run.clone(),
        format!("cd {folder}; bash ./run.sh"),
    ] {
        ensure_says(&session, &script, "connected")?;
    }
    for script in [
        format!("{python} {bad}"),
        format!("{python} {bad} {good}"),
        format!("{python} -c \"{CALL}\" {good}"),
        format!("{python} < {bad}"),
        format!("(exec -a {good} {python} {bad})"),
        format!("{}", other.display()),
        format!("bash -c '{SHELL_CALL}' {run}"),
    ] {
        ensure_says(&session, &script, "refused")?;
    }
    let copy = lab.program(&python, "python3")?.display().to_string();
    ensure_says(&session, &format!("{copy} {good}"), "refused")
}

fn a_digest_passes_wherever_it_lies_and_not_what_was_put_in_its_place(
    capture: Capture,
) -> Result<()> {
    let lab = Lab::new()?;
    let _sink = service::Sink::start(&lab.server, PORT)?;
    let tool = lab.program("/bin/bash", "tool")?;
    let other = lab.program("/bin/bash", "other")?;
    let append = |path: &Path, text: &[u8]| -> Result<()> {
        let mut file = fs::OpenOptions::new().append(true).open(path)?;
        Ok(file.write_all(text)?)
    };
    append(&tool, b"mine")?;
    let sum = lab.host.bash(&format!("sha256sum {}", tool.display()))?;
    let sum = sum.success()?;
    let digest = sum.get(..64).context("no digest")?;
    let session = lab.captured(capture, &only(&format!("{{ sha256 = \"{digest}\" }}")))?;
    let call = |path: &Path| format!("{} -c '{SHELL_CALL}'", path.display());
    ensure_says(&session, &call(&tool), "connected")?;
    ensure_says(&session, &call(&other), "refused")?;
    let elsewhere = lab.folder().join("elsewhere");
    fs::rename(&tool, &elsewhere)?;
    ensure_says(&session, &call(&elsewhere), "connected")?;
    // Put in its place by renaming, and written in place.
    fs::rename(&other, &tool)?;
    ensure_says(&session, &call(&tool), "refused")?;
    append(&elsewhere, b"!")?;
    ensure_says(&session, &call(&elsewhere), "refused")
}

fn a_preloaded_or_traced_program_is_another(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let _sink = service::Sink::start(&lab.server, PORT)?;
    let python = python()?.display().to_string();
    let condition = format!("{{ path = \"{python}\", preload = false, traced = false }}");
    let session = lab.captured(capture, &only(&condition))?;
    let call = lab.file("call.py", CALL)?.display().to_string();
    let plain = format!("{python} {call}");
    ensure_says(&session, &plain, "connected")?;
    let library = session.bash(&format!(
        "{python} -c \"print([l.split()[5] for l in open('/proc/self/maps') if '/libm.so' in l or '/libc.so' in l][0])\""
    ))?;
    let library = lab.program(library.success()?.trim(), "own.so")?;
    let library = library.display();
    ensure_says(
        &session,
        &format!("LD_PRELOAD={library} {plain}"),
        "refused",
    )?;
    // Loaded later, and no variable says so.
    let loads = format!("import ctypes\nctypes.CDLL('{library}')\n{CALL}");
    let loads = lab.file("loads.py", loads)?.display().to_string();
    ensure_says(&session, &format!("{python} {loads}"), "refused")?;
    let traced = format!(
        "
import ctypes, os, sys
here, there = os.pipe()
child = os.fork()
if child == 0:
    os.close(there)
    os.read(here, 1)
    os.execv('{python}', ['{python}', '{call}'])
libc = ctypes.CDLL(None, use_errno=True)
assert libc.ptrace(0x4206, child, 0, 0) == 0, ctypes.get_errno()
os.close(there)
while True:
    _, status = os.waitpid(child, 0)
    if not os.WIFSTOPPED(status):
        sys.exit(0)
    libc.ptrace(7, child, 0, 0 if os.WSTOPSIG(status) == 5 else os.WSTOPSIG(status))
"
    );
    let traced = lab.file("traced.py", traced)?.display().to_string();
    ensure_says(&session, &format!("{python} {traced}"), "refused")?;
    ensure_says(&session, &plain, "connected")
}

fn what_was_deleted_while_it_ran_is_told(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let _sink = service::Sink::start(&lab.server, PORT)?;
    let rule = "[[rule]]\napp = { name = \"gone*\", deleted = true }\naction = \"block\"\n";
    let session = lab.captured(capture, rule)?;
    for (name, before, expected) in [("gone1", ":", "connected"), ("gone2", "rm $0", "refused")] {
        let program = lab.program("/bin/bash", name)?;
        let folder = lab.folder();
        fs::set_permissions(folder, fs::Permissions::from_mode(0o777))?;
        let path = program.display();
        ensure_says(
            &session,
            &format!("{path} -c '{before}; {SHELL_CALL}' {path}"),
            expected,
        )?;
    }
    Ok(())
}

fn a_reload_that_asks_for_more_cuts_the_one_script_and_leaves_the_other(
    capture: Capture,
) -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let drip = "
import sys, time, urllib.request
with urllib.request.urlopen('http://203.0.113.10/drip') as answer:
    while answer.read(1):
        print('drop', flush=True)
";
    let red = lab.file("red.py", drip)?.display().to_string();
    let green = lab.file("green.py", drip)?.display().to_string();
    let session = lab.captured(capture, "")?;
    let python = python()?.display().to_string();
    let start = |script: &str| session.start(&format!("exec {python} {script}"));
    let (cut, left) = (start(&red)?, start(&green)?);
    wait_until("both hear the server", PATIENCE, || {
        !cut.output().is_empty() && !left.output().is_empty()
    })?;
    let rule = format!("[[rule]]\napp = {{ script = \"{red}\" }}\naction = \"block\"\n");
    session.gateway().rewrite_config(&rule)?;
    wait_until("the one is cut", Duration::from_secs(5), || cut.has_ended())?;
    let heard = left.output().len();
    wait_until("the other goes on", PATIENCE, || {
        left.output().len() > heard
    })
}

fn records_say_what_programs_are_without_any_rule(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let _sink = service::Sink::start(&lab.server, PORT)?;
    let session = lab.captured(capture, "")?;
    let script = lab.file("held.sh", format!("{SHELL_CALL}; read end\n"))?;
    let script = script.display().to_string();
    let _held = session.start(&format!("sleep 600 | exec bash {script}"))?;
    let flow = session
        .gateway()
        .wait_for_flow("its program is known", |flow| {
            flow["remote"] == "203.0.113.10:9" && !flow["app"].is_null()
        })?;
    let identity = &flow["app"]["identity"];
    ensure!(identity["package"] == "deb:bash", "{flow}");
    ensure!(identity["script"] == script, "{flow}");
    ensure!(identity["traced"] == "false", "{flow}");
    ensure!(identity["snap"] == Value::Null, "{flow}");
    ensure!(identity.get("sha256").is_none(), "nobody asked: {flow}");
    Ok(())
}

/// Groups that this test makes and removes, as a service manager would.
struct Groups(PathBuf);

impl Groups {
    fn new() -> Result<Self> {
        let mounts = fs::read_to_string("/proc/mounts")?;
        let mut mounts = mounts
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>());
        let unified = mounts.find(|mount| mount.get(2) == Some(&"cgroup2"));
        let unified = unified.context("no cgroup v2")?[1];
        let slice = format!("tidegate_test_{}.slice", std::process::id());
        Ok(Self(Path::new(unified).join(slice)))
    }

    fn make(&self, name: &str) -> Result<String> {
        let group = self.0.join(name);
        fs::create_dir_all(&group)?;
        Ok(group.join("cgroup.procs").display().to_string())
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        fn remove(group: &Path) {
            for inner in fs::read_dir(group).into_iter().flatten().flatten() {
                if inner.path().is_dir() {
                    remove(&inner.path());
                }
            }
            let gone = wait_until("the group is empty", PATIENCE, || {
                fs::remove_dir(group).is_ok()
            });
            assert!(gone.is_ok(), "{} is left", group.display());
        }
        remove(&self.0);
    }
}

#[test]
fn a_unit_is_what_the_host_s_manager_made_and_not_what_stands_beneath_it() -> Result<()> {
    let groups = Groups::new()?;
    let lab = Lab::new()?;
    let _sink = service::Sink::start(&lab.server, PORT)?;
    let session = lab.captured_as(
        Capture::Host,
        User::ROOT,
        &only("{ unit = \"job.service\" }"),
    )?;
    let call = |group: &str| format!("echo $$ >{group}; {SHELL_CALL}");
    ensure_says(&session, &call(&groups.make("job.service")?), "connected")?;
    let beneath = [
        "other.service/job.service",
        "user@1000.service/app.slice/job.service",
    ];
    for group in beneath {
        ensure_says(&session, &call(&groups.make(group)?), "refused")?;
    }
    let rule = only("{ user_unit = \"job.service\", slice = \"tidegate_test_*\" }");
    let generation = session.gateway().status()?["policy"]["generation"].clone();
    session.gateway().rewrite_config(&rule)?;
    wait_until("the new policy is in force", PATIENCE, || {
        let status = session.gateway().status().unwrap_or_default();
        status["policy"]["generation"] != generation
    })?;
    ensure_says(&session, &call(&groups.make(beneath[1])?), "connected")?;
    ensure_says(&session, &call(&groups.make("job.service")?), "refused")
}
