//! Everything that is printed goes through here, so that nothing a program or a server chose for a name can steer the
//! terminal.

use std::borrow::Cow;
use std::fmt::{Display, Write as _};
use std::io::{self, IsTerminal, Write as _};

/// How text for a terminal is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Columns that a line may take; none: as many as it needs.
    pub width: Option<usize>,
    /// Whether verdicts are coloured.
    pub colour: Colour,
}

/// Whether text is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// It is not.
    Plain,
    /// By ANSI escape sequences.
    Ansi,
}

impl Style {
    /// For files, pipes and tests: whole lines without colour.
    pub const PLAIN: Self = Self {
        width: None,
        colour: Colour::Plain,
    };
}

/// The style that fits standard output.
pub fn stdout_style() -> Style {
    style(
        io::stdout().is_terminal(),
        terminal_size::terminal_size_of(io::stdout()),
    )
}

/// The style that fits standard error.
pub fn stderr_style() -> Style {
    style(
        io::stderr().is_terminal(),
        terminal_size::terminal_size_of(io::stderr()),
    )
}

fn style(is_terminal: bool, size: Option<(terminal_size::Width, terminal_size::Height)>) -> Style {
    if !is_terminal {
        return Style::PLAIN;
    }
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    Style {
        width: size.map(|(terminal_size::Width(columns), _)| usize::from(columns)),
        colour: if plain { Colour::Plain } else { Colour::Ansi },
    }
}

/// Prints a line on standard output.
///
/// # Errors
/// Standard output takes no more.
pub fn print_line(line: &(impl Display + ?Sized)) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{line}")
}

/// Prints text that ends its own lines on standard output.
///
/// # Errors
/// Standard output takes no more.
pub fn print_text(text: &str) -> io::Result<()> {
    io::stdout().lock().write_all(text.as_bytes())
}

/// Says on standard error what went wrong.
pub fn complain(message: &str) {
    // Nobody is left to be told that standard error is closed.
    let _ = writeln!(
        io::stderr().lock(),
        "tidegate: {}",
        printable_lines(message)
    );
}

/// Prints text that ends its own lines on standard error, beside the output of a command that is not ours.
pub fn report(text: &str) {
    // As above.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// The text with everything escaped that a terminal would act on or hide: control characters, line breaks, and the
/// invisible and direction-changing ones of Unicode.
pub fn printable(text: &str) -> Cow<'_, str> {
    escape(text, |letter| is_harmful(letter) || letter == '\n')
}

/// As [`printable`], but line breaks stay.
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    escape(text, |letter| is_harmful(letter) && letter != '\n')
}

fn escape(text: &str, harmful: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&harmful) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        if harmful(letter) {
            // Writing to a string cannot fail.
            let _ = write!(escaped, "{}", letter.escape_default());
        } else {
            escaped.push(letter);
        }
    }
    Cow::Owned(escaped)
}

/// Control characters (C0, DEL, C1), and of Unicode's category Cf and its like those that change direction, join, hide
/// or tag: U+00AD, U+061C, U+180E, U+200B-200F, U+2028-202E, U+2060-206F, U+FEFF, U+FFF9-FFFB, U+E0000-E0FFF.
pub(crate) fn is_harmful(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_escaped() {
        assert_eq!(printable("\u{1b}[2Jgone"), "\\u{1b}[2Jgone");
        assert_eq!(printable("a\nb\r\tc\u{9b}"), "a\\nb\\r\\tc\\u{9b}");
        assert_eq!(printable("evil\u{202e}gpj.exe"), "evil\\u{202e}gpj.exe");
        assert_eq!(printable("zero\u{200b}width"), "zero\\u{200b}width");
        assert_eq!(printable_lines("one\ntwo\u{7}"), "one\ntwo\\u{7}");
    }

    #[test]
    fn ordinary_text_of_any_script_stays_as_it_is() {
        for text in ["curl", "Müller", "程序", "مرحبا", ""] {
            assert!(matches!(printable(text), Cow::Borrowed(same) if same == text));
        }
    }
}
