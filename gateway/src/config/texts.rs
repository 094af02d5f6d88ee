//! What the files of a configuration said, so that a change of it can be told.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::audit::Hash;

/// Largest file that is kept whole; of a larger one its hash says whether it changed.
const LARGEST: usize = 64 << 10;

/// The text of each file of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts(BTreeMap<PathBuf, Kept>);

/// What is kept of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    summary: String,
    /// The text, or where that is too large the summary.
    lines: String,
}

impl Texts {
    pub(super) fn add(&mut self, path: &Path, text: &str) {
        let summary = format!(
            "sha256 {} ({} bytes)",
            Hash::of(text.as_bytes()),
            text.len()
        );
        let lines = if text.len() <= LARGEST {
            text.to_owned()
        } else {
            summary.clone()
        };
        self.0.insert(path.to_owned(), Kept { summary, lines });
    }

    /// One line for each file: its name and its hash.
    pub fn summary(&self) -> String {
        self.0
            .iter()
            .map(|(path, kept)| format!("{}: {}\n", path.display(), kept.summary))
            .collect()
    }

    /// The lines that are here and not in `other`, under the names of their files; none where there is no such line.
    pub fn without(&self, other: &Self) -> Option<String> {
        let mut found = String::new();
        for (path, kept) in &self.0 {
            let mut others: BTreeMap<&str, usize> = BTreeMap::new();
            for line in other
                .0
                .get(path)
                .into_iter()
                .flat_map(|kept| kept.lines.lines())
            {
                *others.entry(line).or_default() += 1;
            }
            let is_new = |line: &&str| match others.get_mut(*line) {
                Some(count) if *count > 0 => {
                    *count -= 1;
                    false
                }
                _ => true,
            };
            let mut lines = kept.lines.lines().filter(is_new).peekable();
            if lines.peek().is_some() {
                found.push_str(&format!("{}:\n", path.display()));
                lines.for_each(|line| {
                    found.push_str(line);
                    found.push('\n');
                });
            }
        }
        (!found.is_empty()).then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(files: &[(&str, &str)]) -> Texts {
        let mut texts = Texts::default();
        for (path, text) in files {
            texts.add(Path::new(path), text);
        }
        texts
    }

    #[test]
    fn a_change_is_the_lines_that_went_and_those_that_came() {
        let old = texts(&[("a", "one\ntwo\ntwo\n"), ("b", "same\n")]);
        let new = texts(&[("a", "two\none\nthree\n"), ("b", "same\n")]);
        assert_eq!(old.without(&new).as_deref(), Some("a:\ntwo\n"));
        assert_eq!(new.without(&old).as_deref(), Some("a:\nthree\n"));
        assert_eq!(new.without(&new), None);
    }

    #[test]
    fn of_a_large_file_the_hash_tells() {
        let (one, two) = (
            "x\n".repeat(LARGEST),
            format!("y\n{}", "x\n".repeat(LARGEST)),
        );
        let (old, new) = (texts(&[("a", &one)]), texts(&[("a", &two)]));
        assert!(new.without(&old).unwrap().contains("sha256 "));
    }
}
