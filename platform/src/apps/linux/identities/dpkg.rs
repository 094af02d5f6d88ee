//! Debian's packages: the list of each one's files, and which of them were moved out of the way (diversions).

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustc_hash::{FxHashMap, FxHashSet};

use super::packages::{LONGEST_LIST, MOST_FILES, Owners};

/// Folders that are links into `/usr` since their merge. Older lists name files by them.
const ALIASED: [&str; 7] = [
    "/usr/bin",
    "/usr/sbin",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/libx32",
    "/usr/libo32",
];

/// The lists of all packages. A file is kept as a hash of its path, keyed anew for each reading: 12 bytes a file.
#[derive(Debug)]
pub(super) struct Dpkg {
    keys: RandomState,
    /// In ascending order.
    paths: Vec<u64>,
    /// The package of each, by its place in `names`.
    packages: Vec<u32>,
    names: Vec<Box<str>>,
    diversions: Diversions,
}

/// Files of packages that are under another name here.
#[derive(Debug, Default)]
struct Diversions {
    /// By the name that they have here: the name in the list, and the package that moved it.
    moved_to: FxHashMap<PathBuf, (PathBuf, Box<str>)>,
    /// Who alone has the name now, by the name in the list; `:` is the administrator.
    kept_for: FxHashMap<PathBuf, Box<str>>,
}

impl Dpkg {
    /// Reads the database in this folder, `/var/lib/dpkg` on a host. What cannot be read is passed over.
    pub(super) fn read(folder: &Path) -> Self {
        let keys = RandomState::new();
        let mut names: Vec<Box<str>> = Vec::new();
        let mut files: Vec<(u64, u32)> = Vec::new();
        let lists = fs::read_dir(folder.join("info")).into_iter().flatten();
        for list in lists.flatten() {
            let file_name = list.file_name();
            let name = file_name
                .to_str()
                .and_then(|name| name.strip_suffix(".list"));
            let Some((name, text)) = name.zip(bounded(&list.path())) else {
                continue;
            };
            let Ok(place) = u32::try_from(names.len()) else {
                break;
            };
            // Of several architectures: `libc6:amd64`.
            let name = name.split_once(':').map_or(name, |(name, _)| name);
            names.push(name.into());
            let paths = text.split(|byte| *byte == b'\n');
            let paths = paths.filter(|path| !path.is_empty());
            files.extend(paths.map(|path| (keys.hash_one(path), place)));
            if files.len() > MOST_FILES {
                tracing::warn!(folder = %folder.display(), "too many files of packages: the rest is left out");
                break;
            }
        }
        files.sort_unstable();
        let (paths, packages) = files.into_iter().unzip();
        let diversions = bounded(&folder.join("diversions"));
        Self {
            keys,
            paths,
            packages,
            names,
            diversions: Diversions::parse(&diversions.unwrap_or_default()),
        }
    }

    /// The packages that list this very path.
    fn listed_in(&self, path: &Path) -> impl Iterator<Item = &str> {
        let wanted = self.keys.hash_one(path.as_os_str().as_bytes());
        let begins = self.paths.partition_point(|known| *known < wanted);
        let same = self
            .paths
            .iter()
            .skip(begins)
            .take_while(move |known| **known == wanted);
        let packages = self.packages.iter().skip(begins);
        same.zip(packages).filter_map(|(_, place)| {
            let place = usize::try_from(*place).ok()?;
            self.names.get(place).map(|name| &**name)
        })
    }

    fn owner_of_listed(&self, path: &Path) -> Option<&str> {
        if let Some((listed, by)) = self.diversions.moved_to.get(path) {
            return self.listed_in(listed).find(|package| **package != **by);
        }
        let kept_for = self.diversions.kept_for.get(path);
        self.listed_in(path)
            .find(|package| kept_for.is_none_or(|only| **package == **only))
    }
}

impl Owners for Dpkg {
    fn of(&self, path: &Path) -> Option<&str> {
        self.owner_of_listed(path).or_else(|| {
            let is_aliased = ALIASED.iter().any(|folder| path.starts_with(folder));
            let alias = Path::new("/").join(path.strip_prefix("/usr").ok()?);
            is_aliased.then(|| self.owner_of_listed(&alias))?
        })
    }
}

impl Diversions {
    /// Three lines each: from where, to where, by whom.
    fn parse(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text);
        let lines: Vec<&str> = text.lines().collect();
        let mut diversions = Self::default();
        let mut seen = FxHashSet::default();
        for diversion in lines.chunks_exact(3) {
            let [from, to, by] = diversion else { continue };
            if seen.insert(*from) {
                let moved = (PathBuf::from(from), (*by).into());
                diversions.moved_to.insert(PathBuf::from(to), moved);
                diversions
                    .kept_for
                    .insert(PathBuf::from(from), (*by).into());
            }
        }
        diversions
    }
}

fn bounded(path: &Path) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let file = fs::File::open(path).ok()?;
    let read = file.take(LONGEST_LIST + 1).read_to_end(&mut text).ok()?;
    (u64::try_from(read).ok()? <= LONGEST_LIST).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::super::tests::Root;
    use super::*;

    fn example() -> Root {
        let root = Root::new();
        let list =
            |name: &str, text: &str| root.write(&format!("var/lib/dpkg/info/{name}.list"), text);
        list("curl", "/.\n/usr\n/usr/bin\n/usr/bin/curl\n");
        list("dash", "/bin/dash\n/bin/sh\n");
        list("libc6:amd64", "/lib/ld.so\n/usr/lib/x\n");
        list("other", "/bin/sh\n");
        list("mine", "/opt/tool\n");
        root.write("var/lib/dpkg/info/curl.md5sums", "0  usr/bin/wrong\n");
        root.write(
            "var/lib/dpkg/diversions",
            "/bin/sh\n/bin/sh.distrib\ndash\n/opt/tool\n/opt/tool.real\n:\n",
        );
        root
    }

    fn read(root: &Root) -> Dpkg {
        Dpkg::read(&root.path().join("var/lib/dpkg"))
    }

    #[test]
    fn a_file_is_found_by_either_of_its_names() {
        let (root, of) = (example(), |dpkg: &Dpkg, path: &str| {
            dpkg.of(Path::new(path)).map(str::to_owned)
        });
        let dpkg = read(&root);
        assert_eq!(of(&dpkg, "/usr/bin/curl").as_deref(), Some("curl"));
        assert_eq!(of(&dpkg, "/usr/bin/dash").as_deref(), Some("dash"));
        assert_eq!(of(&dpkg, "/usr/lib/ld.so").as_deref(), Some("libc6"));
        for nobody_s in ["/usr/bin/curl2", "/bin/curl", "/opt/curl", "/usr/bin/wrong"] {
            assert_eq!(of(&dpkg, nobody_s), None, "{nobody_s}");
        }
    }

    #[test]
    fn a_diverted_file_belongs_to_whom_it_was_taken_from() {
        let root = example();
        let dpkg = read(&root);
        let of = |path: &str| dpkg.of(Path::new(path)).map(str::to_owned);
        assert_eq!(of("/bin/sh").as_deref(), Some("dash"));
        assert_eq!(of("/bin/sh.distrib").as_deref(), Some("other"));
        assert_eq!(of("/opt/tool"), None, "the administrator's own");
        assert_eq!(of("/opt/tool.real").as_deref(), Some("mine"));
    }
}
