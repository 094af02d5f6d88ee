//! Which systemd unit and which container a process belongs to, from the text of `/proc/PID/cgroup`.
//!
//! A line is `hierarchy:controllers:path`. With cgroup v2 there is one, with hierarchy 0; with v1 the one named
//! `name=systemd` tells the unit, and any of them the container. Container engines put a 64-digit id into a path
//! component, bare or behind a prefix and before `.scope`.

/// Where a process stands in the control groups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Membership {
    /// The innermost unit, e.g. `ssh.service`.
    pub(super) unit: Option<String>,
    /// The innermost container's full id.
    pub(super) container: Option<String>,
}

/// Suffixes of the units that hold processes. Slices only hold other units.
const UNIT_SUFFIXES: [&str; 6] = [".service", ".scope", ".socket", ".mount", ".swap", ".slice"];
/// Number of hexadecimal digits of a container id.
const ID_LENGTH: usize = 64;

/// Parses the text of a process's `cgroup` file.
pub(super) fn parse(text: &str) -> Membership {
    let mut membership = Membership::default();
    for line in text.lines() {
        let mut columns = line.splitn(3, ':');
        let (Some(hierarchy), Some(controllers), Some(path)) =
            (columns.next(), columns.next(), columns.next())
        else {
            continue;
        };
        let tells_unit = hierarchy == "0" || controllers == "name=systemd";
        if tells_unit && membership.unit.is_none() {
            membership.unit = unit(path);
        }
        if membership.container.is_none() {
            membership.container = container(path);
        }
    }
    membership
}

fn unit(path: &str) -> Option<String> {
    let innermost = path.rsplit('/').find(|component| {
        let slice = component.ends_with(".slice");
        !slice
            && UNIT_SUFFIXES
                .iter()
                .any(|suffix| component.len() > suffix.len() && component.ends_with(suffix))
    })?;
    Some(unescape(innermost))
}

/// A leading `_` keeps names apart from the kernel's own files (systemd's `cg_escape`).
fn unescape(component: &str) -> String {
    component.strip_prefix('_').unwrap_or(component).to_owned()
}

fn container(path: &str) -> Option<String> {
    path.rsplit('/').find_map(|component| {
        let component = component.strip_suffix(".scope").unwrap_or(component);
        // `docker-ID`, `libpod-ID`, `cri-containerd-ID`, `crio-ID`; containerd in Kubernetes also writes `...:cri-containerd:ID`.
        let id = component.rsplit(['-', ':']).next().unwrap_or(component);
        let is_id = id.len() == ID_LENGTH
            && id
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_id.then(|| id.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn unit_of(text: &str) -> Option<String> {
        parse(text).unit
    }

    #[test]
    fn the_innermost_unit_that_is_no_slice_is_named() {
        assert_eq!(
            unit_of("0::/system.slice/ssh.service\n").as_deref(),
            Some("ssh.service")
        );
        let browser =
            "0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-firefox-12.scope\n";
        assert_eq!(unit_of(browser).as_deref(), Some("app-firefox-12.scope"));
        assert_eq!(unit_of("0::/user.slice/user-1000.slice\n"), None);
        assert_eq!(unit_of("0::/\n"), None);
        assert_eq!(
            unit_of("0::/system.slice/_cpu.service\n").as_deref(),
            Some("cpu.service")
        );
    }

    #[test]
    fn with_cgroup_v1_the_systemd_hierarchy_tells_the_unit() {
        let text = "9:name=systemd:/system.slice/cron.service\n8:pids:/other.service\n0::/\n";
        assert_eq!(unit_of(text).as_deref(), Some("cron.service"));
    }

    #[test]
    fn each_engines_way_to_write_the_id_is_known() {
        for path in [
            format!("/docker/{ID}"),
            format!("/system.slice/docker-{ID}.scope"),
            format!("/machine.slice/libpod-{ID}.scope/container"),
            format!("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope"),
            format!(
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice/cri-containerd-{ID}.scope"
            ),
            format!("/kubepods/besteffort/pod1-2/{ID}"),
            format!("/kubepods.slice/kubepods-pod1.slice/crio-{ID}.scope"),
            format!("/system.slice/containerd.service/kubepods-pod1.slice:cri-containerd:{ID}"),
        ] {
            assert_eq!(
                parse(&format!("0::{path}\n")).container.as_deref(),
                Some(ID),
                "{path}"
            );
        }
        assert_eq!(parse("0::/docker/0123\n").container, None);
        assert_eq!(
            parse(&format!("0::/docker/{}\n", ID.to_uppercase())).container,
            None
        );
    }

    #[test]
    fn with_cgroup_v1_any_hierarchy_tells_the_container() {
        assert_eq!(
            parse(&format!("4:memory:/docker/{ID}\n0::/\n"))
                .container
                .as_deref(),
            Some(ID)
        );
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[0-9a-f:/._\\-\n\u{e9}]{0,200}") {
            parse(&text);
        }
    }
}
