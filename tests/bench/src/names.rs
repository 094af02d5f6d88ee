//! Values that go by name, on the command line and between the bench and its load.

use std::fmt::Display;

/// The one of `all` that is shown as `name`.
pub(crate) fn named<T: Copy + Display>(all: &[T], name: &str) -> Option<T> {
    all.iter().copied().find(|known| known.to_string() == name)
}
