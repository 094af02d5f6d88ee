//! Which systemd unit and which container a process belongs to, from the text of `/proc/PID/cgroup`.
//!
//! A line is `hierarchy:controllers:path`. With cgroup v2 there is one, with hierarchy 0; with v1 the one named
//! `name=systemd` tells the unit, and any of them the container. Container engines put a 64-digit id into a path
//! component, bare or behind a prefix and before `.scope`.

/// Where a process stands in the control groups.
///
/// What is beneath a unit is the unit's own business: whoever runs there may make groups of any name. So the outermost unit
/// and the outermost container count, which only root can make; but for what a user's own service manager makes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Membership {
    /// The unit of the host's service manager, e.g. `ssh.service`.
    pub(super) unit: Option<String>,
    /// The slice that this unit, or the process itself, is in.
    pub(super) slice: Option<String>,
    /// Where the unit is a user's service manager: the unit of that one.
    pub(super) user_unit: Option<String>,
    /// The container's full id.
    pub(super) container: Option<String>,
    /// Who named the container.
    pub(super) container_by: ContainerBy,
}

/// Who made a container's group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum ContainerBy {
    /// Root.
    #[default]
    Root,
    /// A user, who may give it any name.
    User,
}

/// Suffixes of the units that hold processes. Slices only hold other units.
const UNIT_SUFFIXES: [&str; 5] = [".service", ".scope", ".socket", ".mount", ".swap"];
const SLICE_SUFFIX: &str = ".slice";
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
        if tells_unit && membership.unit.is_none() && membership.slice.is_none() {
            membership.read_units(path);
        }
        if membership.container.is_none() {
            membership.read_container(path);
        }
    }
    membership
}

impl Membership {
    fn read_units(&mut self, path: &str) {
        let mut components = path.split('/');
        for component in components.by_ref() {
            if is_named(component, SLICE_SUFFIX) {
                self.slice = Some(unescape(component));
            } else if is_unit(component) {
                self.unit = Some(unescape(component));
                break;
            }
        }
        if self.unit.as_deref().is_some_and(is_user_manager) {
            self.user_unit = components
                .find(|component| is_unit(component))
                .map(unescape);
        }
    }

    fn read_container(&mut self, path: &str) {
        let mut by = ContainerBy::Root;
        for component in path.split('/') {
            if is_user_manager(component) {
                by = ContainerBy::User;
            } else if let Some(id) = container(component) {
                self.container = Some(id);
                self.container_by = by;
                return;
            }
        }
    }
}

fn is_named(component: &str, suffix: &str) -> bool {
    component.len() > suffix.len() && component.ends_with(suffix)
}

fn is_unit(component: &str) -> bool {
    UNIT_SUFFIXES
        .iter()
        .any(|suffix| is_named(component, suffix))
}

/// `user@1000.service`.
fn is_user_manager(unit: &str) -> bool {
    let instance = unit.strip_prefix("user@");
    instance.is_some_and(|instance| instance.ends_with(".service"))
}

/// A leading `_` keeps names apart from the kernel's own files (systemd's `cg_escape`).
fn unescape(component: &str) -> String {
    component.strip_prefix('_').unwrap_or(component).to_owned()
}

fn container(component: &str) -> Option<String> {
    let component = component.strip_suffix(".scope").unwrap_or(component);
    // `docker-ID`, `libpod-ID`, `cri-containerd-ID`, `crio-ID`; containerd in Kubernetes also writes `...:cri-containerd:ID`.
    let id = component.rsplit(['-', ':']).next().unwrap_or(component);
    let is_id = id.len() == ID_LENGTH
        && id
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_id.then(|| id.to_owned())
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
    fn the_outermost_unit_and_its_slice_are_named() {
        let ssh = parse("0::/system.slice/ssh.service\n");
        assert_eq!(ssh.unit.as_deref(), Some("ssh.service"));
        assert_eq!(ssh.slice.as_deref(), Some("system.slice"));
        assert_eq!(unit_of("0::/user.slice/user-1000.slice\n"), None);
        assert_eq!(unit_of("0::/\n"), None);
        assert_eq!(
            unit_of("0::/system.slice/_cpu.service\n").as_deref(),
            Some("cpu.service")
        );
    }

    #[test]
    fn groups_that_a_user_or_a_service_may_have_made_are_no_units_of_the_host() {
        let browser = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/ssh.service\n";
        let browser = parse(browser);
        assert_eq!(browser.unit.as_deref(), Some("user@1000.service"));
        assert_eq!(browser.user_unit.as_deref(), Some("ssh.service"));
        assert_eq!(browser.slice.as_deref(), Some("user-1000.slice"));
        let delegated = parse("0::/system.slice/build.service/system.slice/ssh.service\n");
        assert_eq!(delegated.unit.as_deref(), Some("build.service"));
        assert_eq!(delegated.user_unit, None);
    }

    #[test]
    fn a_container_s_own_groups_do_not_make_it_another_and_a_user_s_are_told_apart() {
        let other = "f".repeat(64);
        let nested = parse(&format!("0::/docker/{ID}/docker/{other}\n"));
        assert_eq!(nested.container.as_deref(), Some(ID));
        assert_eq!(nested.container_by, ContainerBy::Root);
        let user = format!("0::/user.slice/user@7.service/user.slice/libpod-{ID}.scope\n");
        assert_eq!(parse(&user).container_by, ContainerBy::User);
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
