//! The `[geo]` table.

use std::path::{Path, PathBuf};

use tidegate_policy::document::{Item, Problem, Refusal, Section, Severity};
use tidegate_policy::{Database, PolicySource};

/// Databases of places: MMDB files of any make.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Geo {
    /// Countries, and continents.
    pub country: Option<PathBuf>,
    /// Autonomous systems.
    pub asn: Option<PathBuf>,
}

impl Geo {
    /// Reads `[geo]`; what is wrong is noted in the document.
    pub(super) fn read(section: Section<'_>) -> Self {
        let file = |item: Item<'_>| item.parse(full_path);
        Self {
            country: section.item("country").and_then(file),
            asn: section.item("asn").and_then(file),
        }
    }

    /// Each file that is named, once.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let second = self
            .asn
            .as_ref()
            .filter(|asn| self.country.as_ref() != Some(asn));
        self.country.iter().chain(second)
    }

    /// Rules that ask a database that is not there.
    pub(super) fn problems(&self, policy: &PolicySource) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (database, origin) in policy.databases() {
            let (key, what) = match database {
                Database::Country => ("country", "where addresses are"),
                Database::System => ("asn", "whose networks addresses are in"),
            };
            // One file may hold both.
            let missing = match self.files().find(|file| !file.exists()) {
                _ if self.files().next().is_none() => "no database is named".to_owned(),
                Some(file) => format!("{} is not there", file.display()),
                None => continue,
            };
            problems.push(Problem {
                file: origin.file.to_string(),
                line: origin.line,
                column: origin.column,
                severity: Severity::Warning,
                message: format!(
                    "nobody can say {what}, so that the condition matches nothing: {missing}"
                ),
                hint: Some(format!(
                    "name an MMDB file: [geo] with {key} = \"/path/of/the/database.mmdb\""
                )),
            });
        }
        problems
    }
}

fn full_path(text: &str) -> Result<PathBuf, Refusal> {
    let path = Path::new(text);
    if path.is_absolute() && path.file_name().is_some() {
        return Ok(path.to_owned());
    }
    Err(Refusal::new(
        format!("\"{text}\" is not the full path of a file"),
        "write the whole path, from the first `/` on",
    ))
}
