//! Why a host refuses namespaces or the TUN device, and what its owner can do about it.
//!
//! The kernel's error number alone does not tell an AppArmor rule from a sysctl. So the settings that are known to cause
//! each number are read, and the first that explains it is named.

use std::fmt;
use std::io;
use std::path::Path;

use super::ContainStep;

/// Why exec capture is not possible here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `kernel.apparmor_restrict_unprivileged_userns` is 1 (Ubuntu 23.10 and later).
    AppArmor,
    /// `kernel.unprivileged_userns_clone` is 0 (Debian's and some hardened kernels).
    UnprivilegedClone,
    /// `user.max_user_namespaces` is 0.
    NoUserNamespaces,
    /// `user.max_net_namespaces` or another limit on namespaces is reached.
    TooManyNamespaces,
    /// The kernel has no user namespaces.
    NotBuilt,
    /// Refused, and none of the known settings explains it: a container's seccomp filter, or a security module.
    Sandbox,
    /// `/dev/net/tun` is missing.
    NoTunDevice,
    /// `/dev/net/tun` may not be opened by this user.
    TunNotPermitted,
}

impl Refusal {
    /// What helps, in one or two sentences.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::AppArmor => {
                "Give tidegate an AppArmor profile with `userns,`, or as root: sysctl kernel.apparmor_restrict_unprivileged_userns=0"
            }
            Self::UnprivilegedClone => {
                "As root: sysctl kernel.unprivileged_userns_clone=1, or run tidegate as root."
            }
            Self::NoUserNamespaces => "As root: sysctl user.max_user_namespaces=15000",
            Self::TooManyNamespaces => {
                "End programs that hold namespaces, or as root raise user.max_user_namespaces, user.max_net_namespaces and user.max_mnt_namespaces."
            }
            Self::NotBuilt => "Use a kernel with CONFIG_USER_NS, CONFIG_NET_NS and CONFIG_TUN.",
            Self::Sandbox => {
                "Inside a container allow unshare and mount (docker: --security-opt seccomp=unconfined --security-opt apparmor=unconfined), or run tidegate outside of it."
            }
            Self::NoTunDevice => {
                "As root: modprobe tun. Inside a container hand the device in (docker: --device /dev/net/tun)."
            }
            Self::TunNotPermitted => {
                "As root: chmod 0666 /dev/net/tun, as distributions ship it; the device gives no power over the host's network."
            }
        }
    }

    /// Finds the cause of an error, looking at the settings below `proc_sys` (`/proc/sys`).
    pub(super) fn diagnose(step: &ContainStep, error: &io::Error, proc_sys: &Path) -> Option<Self> {
        let setting = |path: &str| std::fs::read_to_string(proc_sys.join(path)).ok();
        let is = |path: &str, value: &str| setting(path).is_some_and(|text| text.trim() == value);
        let code = error.raw_os_error()?;
        match (step, code) {
            (ContainStep::Device, libc::ENOENT | libc::ENODEV | libc::ENXIO) => {
                Some(Self::NoTunDevice)
            }
            (ContainStep::Namespaces, libc::ENOSPC | libc::EUSERS) => {
                Some(if is("user/max_user_namespaces", "0") {
                    Self::NoUserNamespaces
                } else {
                    Self::TooManyNamespaces
                })
            }
            (ContainStep::Namespaces, libc::EINVAL | libc::ENOSYS) => Some(Self::NotBuilt),
            (_, libc::EPERM | libc::EACCES) if *step != ContainStep::Exec => Some({
                if is("kernel/unprivileged_userns_clone", "0") {
                    Self::UnprivilegedClone
                } else if is("kernel/apparmor_restrict_unprivileged_userns", "1") {
                    Self::AppArmor
                } else if *step == ContainStep::Device {
                    Self::TunNotPermitted
                } else if *step == ContainStep::Namespaces {
                    Self::Sandbox
                } else {
                    return None;
                }
            }),
            _ => None,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AppArmor => "AppArmor lets ordinary users make no user namespaces on this host",
            Self::UnprivilegedClone => "this host lets ordinary users make no user namespaces",
            Self::NoUserNamespaces => {
                "user namespaces are turned off on this host (user.max_user_namespaces is 0)"
            }
            Self::TooManyNamespaces => "this host's limit on namespaces is reached",
            Self::NotBuilt => "this kernel lacks user namespaces, network namespaces or TUN",
            Self::Sandbox => "a sandbox around this process refuses new namespaces",
            Self::NoTunDevice => "/dev/net/tun is missing",
            Self::TunNotPermitted => "/dev/net/tun may not be opened by this user",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_setting(path: &str, value: &str, test: impl FnOnce(&Path)) {
        let root = std::env::temp_dir().join(format!(
            "tidegate-refusal-{}-{}",
            std::process::id(),
            path.replace('/', "-")
        ));
        let file = root.join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, value).unwrap();
        test(&root);
        std::fs::remove_dir_all(root).unwrap();
    }

    fn diagnose(step: ContainStep, code: i32, root: &Path) -> Option<Refusal> {
        Refusal::diagnose(&step, &io::Error::from_raw_os_error(code), root)
    }

    #[test]
    fn each_known_setting_is_named() {
        with_setting(
            "kernel/apparmor_restrict_unprivileged_userns",
            "1\n",
            |root| {
                assert_eq!(
                    diagnose(ContainStep::Namespaces, libc::EPERM, root),
                    Some(Refusal::AppArmor)
                );
                assert_eq!(
                    diagnose(ContainStep::Mounts, libc::EACCES, root),
                    Some(Refusal::AppArmor)
                );
                assert_eq!(diagnose(ContainStep::Exec, libc::EACCES, root), None);
            },
        );
        with_setting("kernel/unprivileged_userns_clone", "0\n", |root| {
            assert_eq!(
                diagnose(ContainStep::Namespaces, libc::EPERM, root),
                Some(Refusal::UnprivilegedClone)
            );
        });
        with_setting("user/max_user_namespaces", "0\n", |root| {
            assert_eq!(
                diagnose(ContainStep::Namespaces, libc::ENOSPC, root),
                Some(Refusal::NoUserNamespaces)
            );
        });
        with_setting("user/max_user_namespaces", "7\n", |root| {
            assert_eq!(
                diagnose(ContainStep::Namespaces, libc::ENOSPC, root),
                Some(Refusal::TooManyNamespaces)
            );
        });
    }

    #[test]
    fn without_a_setting_the_device_or_a_sandbox_is_blamed() {
        let nowhere = Path::new("/nonexistent");
        assert_eq!(
            diagnose(ContainStep::Device, libc::ENOENT, nowhere),
            Some(Refusal::NoTunDevice)
        );
        assert_eq!(
            diagnose(ContainStep::Device, libc::EACCES, nowhere),
            Some(Refusal::TunNotPermitted)
        );
        assert_eq!(
            diagnose(ContainStep::Namespaces, libc::EPERM, nowhere),
            Some(Refusal::Sandbox)
        );
        for (step, code) in [
            (ContainStep::Network, libc::EIO),
            (ContainStep::Mounts, libc::EACCES),
        ] {
            assert_eq!(diagnose(step, code, nowhere), None);
        }
    }
}
