//! What containers are called: docker and podman write it down for themselves.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;
use tidegate_policy::Fact;

use super::Found;

/// A longer file is not read.
const LONGEST: u64 = 64 << 20;

/// One container of docker.
#[derive(Deserialize)]
struct Docker {
    #[serde(rename = "Name")]
    name: String,
}

/// One of podman's list.
#[derive(Deserialize)]
struct Podman {
    id: String,
    #[serde(default)]
    names: Vec<String>,
}

/// The name of the container with this id, of those that root's engines beneath `root` know.
pub(super) fn of(root: &Path, id: &str) -> Found {
    let docker = root
        .join("var/lib/docker/containers")
        .join(id)
        .join("config.v2.json");
    let podman = root.join("var/lib/containers/storage/overlay-containers/containers.json");
    let of_docker = || {
        let container: Docker = read(&docker)?;
        // With a slash before it.
        let name = container.name.strip_prefix('/').unwrap_or(&container.name);
        Some(name.to_owned())
    };
    let of_podman = || {
        let containers: Vec<Podman> = read(&podman)?;
        let own = containers.into_iter().find(|container| container.id == id);
        own?.names.into_iter().next()
    };
    let name = of_docker()
        .or_else(of_podman)
        .filter(|name| !name.is_empty());
    name.map_or(Fact::Unknown, |name| Fact::Is(name.into()))
}

fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> Option<T> {
    let mut text = Vec::new();
    let file = File::open(path).ok()?;
    file.take(LONGEST).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::super::tests::Root;
    use super::*;

    #[test]
    fn docker_s_and_podman_s_names_are_found_by_the_id() {
        let root = Root::new();
        let (a, b) = ("a".repeat(64), "b".repeat(64));
        root.write(
            &format!("var/lib/docker/containers/{a}/config.v2.json"),
            r#"{"ID":"x","Name":"/web","State":{}}"#,
        );
        root.write(
            "var/lib/containers/storage/overlay-containers/containers.json",
            &format!(r#"[{{"id":"{b}","names":["db"],"layer":"y"}},{{"id":"c"}}]"#),
        );
        assert_eq!(of(root.path(), &a), Fact::Is("web".into()));
        assert_eq!(of(root.path(), &b), Fact::Is("db".into()));
        assert_eq!(of(root.path(), "c"), Fact::Unknown);
        assert_eq!(of(root.path(), &"d".repeat(64)), Fact::Unknown);
    }
}
