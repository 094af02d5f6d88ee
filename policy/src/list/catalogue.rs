//! Lists that others publish: names, addresses and licences, none of their content.

use std::sync::Arc;

use super::Reach;
use super::parse::Format;
use crate::document::{Document, Section};

/// The catalogue as it is shipped.
const TEXT: &str = include_str!("catalogue.toml");

/// A list that others publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogueEntry {
    /// What `use` calls it.
    pub name: String,
    /// What it is, in a few words.
    pub about: String,
    /// Where its text is.
    pub url: String,
    /// Where its authors say more.
    pub home: String,
    /// Under which licence it is published.
    pub licence: String,
    /// How it is written.
    pub format: Option<Format>,
    /// How far a bare name reaches.
    pub bare: Reach,
    /// What it is about.
    pub categories: Vec<String>,
}

impl CatalogueEntry {
    /// Its categories, as lists have them.
    pub(crate) fn labels(&self) -> Vec<Arc<str>> {
        self.categories
            .iter()
            .map(|category| category.as_str().into())
            .collect()
    }
}

/// All that the catalogue holds, in its order.
pub fn entries() -> Vec<CatalogueEntry> {
    let Ok(document) = Document::parse("catalogue.toml", TEXT) else {
        return Vec::new();
    };
    let lists = document.root().sections("list");
    lists.iter().filter_map(entry).collect()
}

fn entry(section: &Section<'_>) -> Option<CatalogueEntry> {
    let formats = Format::ALL.map(|format| (format.as_str(), format));
    let reaches = [("exact", Reach::Exact), ("subdomains", Reach::Within)];
    Some(CatalogueEntry {
        name: section.string("name")?,
        about: section.string("about")?,
        url: section.string("url")?,
        home: section.string("home")?,
        licence: section.string("licence")?,
        format: section.choice("format", &formats),
        bare: section.choice("match", &reaches).unwrap_or(Reach::Exact),
        categories: section.strings("category")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_whole_and_its_address_is_encrypted() {
        let written = TEXT.lines().filter(|line| *line == "[[list]]").count();
        let entries = entries();
        assert_eq!(entries.len(), written);
        let document = Document::parse("catalogue.toml", TEXT).unwrap();
        document
            .root()
            .sections("list")
            .iter()
            .for_each(|section| drop(entry(section)));
        assert_eq!(document.finish(), []);
        for entry in &entries {
            assert!(entry.url.starts_with("https://"), "{entry:?}");
            assert!(entry.home.starts_with("https://"), "{entry:?}");
            assert!(
                !entry.licence.is_empty() && !entry.categories.is_empty(),
                "{entry:?}"
            );
            assert!(crate::destination::label(&entry.name).is_ok(), "{entry:?}");
        }
    }

    #[test]
    fn each_category_that_users_are_promised_has_a_list() {
        let entries = entries();
        for category in [
            "trackers", "malware", "phishing", "adult", "gambling", "doh",
        ] {
            assert!(
                entries
                    .iter()
                    .any(|entry| entry.categories.iter().any(|own| own == category)),
                "{category}"
            );
        }
    }
}
