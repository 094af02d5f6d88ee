//! Lists of values, as `to`, `port` and the keys of `app` hold them.

use crate::document::Item;
use crate::selection::Selection;

/// One value or a list of them, which must not be empty: nothing would ever match.
pub(super) fn read_list<T>(item: &Item<'_>, read: impl FnMut(&Item<'_>) -> Option<T>) -> Vec<T> {
    let elements = item.elements();
    if elements.is_empty() {
        item.error(
            "an empty list matches nothing",
            Some("leave the key out to match everything".to_owned()),
        );
    }
    elements.iter().filter_map(read).collect()
}

/// One value, a list of them, or a table: `{ in = […], not = […] }`.
pub(super) fn read_selection<T>(
    item: &Item<'_>,
    mut read: impl FnMut(&Item<'_>) -> Option<T>,
) -> Selection<T> {
    if !item.is_section() {
        return Selection::of(read_list(item, read));
    }
    let Some(section) = item.section() else {
        return Selection::of(Vec::new());
    };
    if section.is_empty() {
        item.error(
            "an empty table says nothing",
            Some("write { not = [...] }, or leave the key out".to_owned()),
        );
    }
    Selection {
        within: section.item("in").map(|item| read_list(&item, &mut read)),
        except: section
            .item("not")
            .map(|item| read_list(&item, &mut read))
            .unwrap_or_default(),
    }
}
