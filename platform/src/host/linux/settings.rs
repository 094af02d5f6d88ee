//! Kernel settings: files below `/proc/sys`.

use std::io;
use std::path::{Component, Path, PathBuf};

use thiserror::Error;
use tidegate_routing::plan::PortRange;

/// A kernel setting could not be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SettingError {
    /// The path leads elsewhere; a journal that says so is not ours.
    #[error("{0:?} is not a network setting below /proc/sys/net")]
    Foreign(String),
    /// The file could not be read.
    #[error("cannot read /proc/sys/{path}: {source}")]
    Read {
        /// Path below `/proc/sys`.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file could not be written.
    #[error("cannot write /proc/sys/{path}: {source}; is /proc/sys writable here?")]
    Write {
        /// Path below `/proc/sys`.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl SettingError {
    /// The setting went away with its interface.
    pub(super) fn is_gone(&self) -> bool {
        match self {
            Self::Foreign(_) => false,
            Self::Read { source, .. } | Self::Write { source, .. } => {
                source.kind() == io::ErrorKind::NotFound
            }
        }
    }
}

/// The value of a setting, without the newline.
pub(super) fn read(path: &str) -> Result<String, SettingError> {
    let file = file(path)?;
    let text = std::fs::read_to_string(file).map_err(|source| SettingError::Read {
        path: path.to_owned(),
        source,
    })?;
    Ok(text.trim_end().to_owned())
}

pub(super) fn write(path: &str, value: &str) -> Result<(), SettingError> {
    let file = file(path)?;
    // No creation: a setting that is not there is an error.
    let mut options = std::fs::OpenOptions::new();
    let opened = options.write(true).open(file);
    opened
        .and_then(|mut opened| io::Write::write_all(&mut opened, value.as_bytes()))
        .map_err(|source| SettingError::Write {
            path: path.to_owned(),
            source,
        })
}

/// Paths come from the plan or from a journal on disk: neither may lead outside the network's settings.
fn file(path: &str) -> Result<PathBuf, SettingError> {
    let relative = Path::new(path);
    let plain = relative
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    if plain && relative.starts_with("net") {
        Ok(Path::new("/proc/sys").join(relative))
    } else {
        Err(SettingError::Foreign(path.to_owned()))
    }
}

/// `ip_local_port_range`; IPv6 uses the same.
pub(super) fn ephemeral_ports() -> Result<Option<PortRange>, SettingError> {
    read("net/ipv4/ip_local_port_range").map(|text| port_range(&text))
}

pub(super) fn port_range(text: &str) -> Option<PortRange> {
    let mut numbers = text.split_whitespace().map(str::parse::<u16>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(first)), Some(Ok(last))) if first <= last => Some(PortRange { first, last }),
        _ => None,
    }
}

/// `rp_filter` of an interface; `None` where there is none (no IPv4).
pub(super) fn reverse_path_filter(interface: &str) -> Option<u8> {
    read(&format!("net/ipv4/conf/{interface}/rp_filter"))
        .ok()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_outside_the_networks_settings_is_refused() {
        for path in [
            "kernel/hostname",
            "net/../kernel/hostname",
            "/etc/passwd",
            "../sys/net/x",
            "",
            "network/x",
        ] {
            assert!(
                matches!(read(path), Err(SettingError::Foreign(_))),
                "{path}"
            );
        }
    }
}
