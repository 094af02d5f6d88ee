//! `tidegate block`, `allow` and `undo`: rules that are written by a word, tried before all others, the newest first.
//!
//! They stand in a file beside the main one, in the language of all rules, so that whoever reads the configuration sees
//! them. What is made of the words stands in [`request`], what becomes of the file in [`mod@file`].

pub mod file;
pub mod request;

/// Name of the file, beside the main configuration file.
pub const FILE: &str = "quick.toml";
