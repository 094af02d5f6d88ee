//! The Debian packages that tests and benchmarks call programs of.

use std::process::{Command, Stdio};

use crate::shell::{CommandExt, Failure, Outcome};
use crate::workspace::is_root;

/// What the lab, the scenarios and the benchmark need, each with the program it is for.
const NEEDED: [&str; 15] = [
    "bind9-dnsutils", // dig
    "coreutils",      // sha256sum
    "curl",
    "iproute2",     // ip, ss
    "iputils-ping", // ping
    "mtr-tiny",     // mtr
    "nftables",     // nft, as another firewall
    "passt",        // pasta, a peer to measure against
    "procps",       // sysctl
    "python3",
    "socat",
    "strace",
    "tcpdump",
    "traceroute",
    "util-linux", // setpriv, nsenter, script
];

/// What only peers in the benchmark need.
const PEERS: [&str; 1] = [
    "microsocks", // beside a peer that speaks SOCKS only
];

/// Installs what peers need.
pub(crate) fn install_peers() -> Outcome {
    install(&missing(&PEERS)?)
}

/// Installs what is missing. Asks no package host when nothing is, so that tests run offline.
pub(crate) fn install_needed() -> Outcome {
    install(&missing(&NEEDED)?)
}

fn install(missing: &[&str]) -> Outcome {
    if missing.is_empty() {
        return Ok(());
    }
    if !is_root() {
        let names = missing.join(" ");
        return Err(Failure::new(format!(
            "packages are missing; as root: apt-get install {names}"
        )));
    }
    apt_get().args(["update", "--quiet"]).succeed()?;
    apt_get()
        .args(["install", "--quiet", "--yes", "--no-install-recommends"])
        .args(missing)
        .succeed()
}

/// `apt-get` that never asks a question.
pub(crate) fn apt_get() -> Command {
    let mut apt = Command::new("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null());
    apt
}

fn missing<'p>(packages: &[&'p str]) -> Outcome<Vec<&'p str>> {
    let mut missing = Vec::new();
    for package in packages {
        let query = Command::new("dpkg-query")
            .args(["--show", "--showformat", "${db:Status-Status}", package])
            .stdin(Stdio::null())
            .output()
            .map_err(|error| {
                let names = packages.join(" ");
                Failure::new(format!(
                    "cannot ask dpkg-query ({error}); these Debian packages are needed: {names}"
                ))
            })?;
        if query.stdout != b"installed" {
            missing.push(*package);
        }
    }
    Ok(missing)
}

#[cfg(test)]
mod tests {
    use super::missing;

    #[test]
    fn an_installed_package_is_not_missing_and_an_invented_one_is() {
        let found = missing(&["dpkg", "tidegate-no-such-package"]);
        assert_eq!(
            found.map_err(|failure| failure.to_string()),
            Ok(vec!["tidegate-no-such-package"])
        );
    }
}
