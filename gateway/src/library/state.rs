//! What there is of lists and databases, as `tidegate status` and `tidegate lists` show it.

use serde::{Deserialize, Serialize};
use tidegate_policy::Verdict;

use crate::record::Timestamp;

/// All lists and databases.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LibraryState {
    /// In the order written.
    pub lists: Vec<ListState>,
    /// Databases of places.
    pub places: Vec<PlacesState>,
    /// What the compiled lists take on disk, and of memory at most.
    pub bytes: usize,
}

/// One list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListState {
    /// Its name.
    pub name: String,
    /// The file or the address that it comes from.
    pub source: String,
    /// What it does by itself; null: it is for rules.
    pub action: Option<Verdict>,
    /// Whether it is asked.
    pub loaded: bool,
    /// How many entries were taken.
    pub entries: usize,
    /// How many were ignored.
    pub ignored: usize,
    /// How it was read, and what was ignored and why.
    pub report: Option<String>,
    /// When its text came; null: there is none yet.
    pub fetched: Option<Timestamp>,
    /// What is done about it now.
    pub doing: Option<String>,
    /// Why there is no newer text.
    pub problem: Option<String>,
}

/// One database of places.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacesState {
    /// The file.
    pub file: String,
    /// What the database calls itself; null: it is not loaded.
    pub kind: Option<String>,
    /// Why it, or a newer one, is not loaded.
    pub problem: Option<String>,
}

impl LibraryState {
    /// Each thing that is wrong, as a sentence.
    pub fn problems(&self) -> impl Iterator<Item = String> {
        let lists = self.lists.iter().filter_map(|list| {
            let problem = list.problem.as_ref()?;
            let meanwhile = if list.loaded {
                "the last good text stays in force"
            } else {
                "nothing is known of it"
            };
            Some(format!("list {}: {problem}; {meanwhile}", list.name))
        });
        let places = self.places.iter().filter_map(|places| {
            let problem = places.problem.as_ref()?;
            let meanwhile = match places.kind {
                Some(_) => "the one before stays in use",
                None => "rules on what it would know match nothing",
            };
            Some(format!("database {}: {problem}; {meanwhile}", places.file))
        });
        lists.chain(places)
    }
}
