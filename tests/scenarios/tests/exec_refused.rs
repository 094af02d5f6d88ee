//! Exec capture where the host does not allow it: the error names the cause and the remedy.

use anyhow::{Result, ensure};
use tidegate_lab::{Finished, Lab, User};

const OUR_FAILURE: i32 = 125;

/// Runs `tidegate exec -- echo started` where `preparation`, a root shell's, left a trace, and expects it to say all this.
fn refused(lab: &Lab, preparation: &str, said: &[&str]) -> Result<()> {
    let command = lab
        .exec()
        .user(User::ROOT)
        .command(&["/bin/echo", "started"])?;
    let mut shell = lab.host.command("/bin/bash");
    shell
        .args(["-e", "-c", preparation, "bash"])
        .arg(command.get_program())
        .args(command.get_args());
    let ended = Finished::of(&mut shell)?;
    ensure!(ended.code() == OUR_FAILURE, "{ended:?}");
    ensure!(ended.stdout.is_empty(), "the command ran: {ended:?}");
    for part in said {
        ensure!(ended.stderr.contains(part), "no `{part}` in {ended:?}");
    }
    Ok(())
}

#[test]
fn user_namespaces_turned_off_are_named_with_their_setting() -> Result<()> {
    refused(
        &Lab::new()?,
        "exec unshare --user --map-root-user bash -e -c \
         'echo 0 >/proc/sys/user/max_user_namespaces; exec \"$@\"' bash \"$@\"",
        &[
            "user.max_user_namespaces is 0",
            "sysctl user.max_user_namespaces=",
        ],
    )
}

#[test]
fn a_limit_on_network_namespaces_is_named() -> Result<()> {
    refused(
        &Lab::new()?,
        "exec unshare --user --map-root-user bash -e -c \
         'echo 0 >/proc/sys/user/max_net_namespaces; exec \"$@\"' bash \"$@\"",
        &["limit on namespaces", "user.max_net_namespaces"],
    )
}

#[test]
fn a_missing_tun_device_is_named_with_its_module() -> Result<()> {
    refused(
        &Lab::new()?,
        "exec unshare --mount bash -e -c \
         'mount -t tmpfs none /dev/net; exec setpriv --reuid 64001 --regid 64001 --clear-groups \"$@\"' bash \"$@\"",
        &["/dev/net/tun is missing", "modprobe tun"],
    )
}

#[test]
fn a_tun_device_that_is_closed_to_the_user_is_named_with_its_mode() -> Result<()> {
    refused(
        &Lab::new()?,
        // The lab's own node: no other machine sees the change.
        "grep --quiet /dev/net/tun /proc/self/mountinfo; chmod 0600 /dev/net/tun; \
         exec setpriv --reuid 64001 --regid 64001 --clear-groups \"$@\"",
        &["/dev/net/tun may not be opened", "chmod 0666 /dev/net/tun"],
    )
}

#[test]
fn a_sandbox_that_refuses_namespaces_is_named() -> Result<()> {
    refused(
        &Lab::new()?,
        // Inside a changed root the kernel makes no user namespaces.
        "exec unshare --mount bash -e -c \
         'mkdir /run/root; mount --rbind / /run/root; exec chroot --userspec=64001:64001 /run/root \"$@\"' bash \"$@\"",
        &["sandbox", "refuses"],
    )
}

#[test]
fn a_bad_file_at_the_start_starts_nothing() -> Result<()> {
    let lab = Lab::new()?;
    let exec = lab.exec().config("[policy]\ndefault = \"alow\"\n")?;
    let ended = exec.bash("echo started")?;
    ensure!(ended.code() == OUR_FAILURE, "{ended:?}");
    ensure!(ended.stdout.is_empty(), "{ended:?}");
    ensure!(ended.stderr.contains("exec.toml:2:"), "{ended:?}");
    ensure!(ended.stderr.contains("did you mean \"allow\""), "{ended:?}");
    Ok(())
}
