//! What is kept about a list beside its entries.

/// Whose entries a list's `$badfilter` takes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cancels {
    /// Its own: a list that was subscribed to has no say about others.
    #[default]
    Own,
    /// Those of all lists, as is right for a user's own.
    All,
}

/// A list: its name, and what it is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListInfo {
    /// As rules name it; at most 255 bytes.
    pub name: String,
    /// What it is about, such as `trackers`; at most 255, of 255 bytes each.
    pub categories: Vec<String>,
    /// Whose entries its `$badfilter` takes back; counts only while lists are compiled.
    pub cancels: Cancels,
}

impl ListInfo {
    /// A list in no category.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }

    /// Its bytes in a file: each text behind its length, and the number of categories.
    pub(super) fn put(&self, bytes: &mut Vec<u8>) -> Option<()> {
        put_text(&self.name, bytes)?;
        bytes.push(u8::try_from(self.categories.len()).ok()?);
        self.categories
            .iter()
            .try_for_each(|category| put_text(category, bytes))
    }

    pub(super) fn read_all(mut bytes: &[u8]) -> Option<Vec<Self>> {
        let mut lists = Vec::new();
        while !bytes.is_empty() && lists.len() < super::MOST_LISTS {
            let name = take_text(&mut bytes)?;
            let (count, rest) = bytes.split_first()?;
            bytes = rest;
            let categories = (0..*count)
                .map(|_| take_text(&mut bytes))
                .collect::<Option<_>>()?;
            lists.push(Self {
                name,
                categories,
                cancels: Cancels::Own,
            });
        }
        bytes.is_empty().then_some(lists)
    }
}

pub(super) fn put_text(text: &str, bytes: &mut Vec<u8>) -> Option<()> {
    bytes.push(u8::try_from(text.len()).ok()?);
    bytes.extend(text.as_bytes());
    Some(())
}

pub(super) fn take_text(bytes: &mut &[u8]) -> Option<String> {
    let (len, rest) = bytes.split_first()?;
    let (text, rest) = rest.split_at_checked(usize::from(*len))?;
    *bytes = rest;
    String::from_utf8(text.to_vec()).ok()
}
