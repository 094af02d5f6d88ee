//! Filter lists as rules: one rule that names what a list names, but for what the list itself excepts.

use super::draft::Draft;
use super::piece::Piece;
use crate::document::Refusal;
use crate::list::parse::{self, Settings};
use crate::list::{Effect, Entry, Purpose, Reach, Target};
use crate::verdict::Verdict;

pub(super) fn read(text: &str, action: Verdict) -> Result<Vec<Piece>, Refusal> {
    let mut draft = Draft::new("list", action);
    let mut pieces = Vec::new();
    let settings = Settings {
        most_entries: super::MOST_DESTINATIONS,
        ..Settings::default()
    };
    let mut at = 0;
    let report = parse::parse(text.as_bytes(), &settings, |entry| {
        at += 1;
        match destination(&entry) {
            Ok(to) if entry.effect == Effect::Block => draft.to.push(to),
            Ok(to) => draft.to_not.push(to),
            Err(reason) => {
                let place = format!("entry {at}");
                // What an exception of the list cannot take back stays blocked.
                let piece = Piece::new(&place, &place, action);
                pieces.push(piece.refused(reason));
            }
        }
    });
    for (reason, ignored) in report.ignored() {
        for line in ignored.first_lines() {
            let piece = Piece::new(format!("line {line}"), format!("line {line}"), action);
            pieces.push(piece.refused(reason.to_string()));
        }
        let more = ignored.count - ignored.first_lines().len();
        if more > 0 {
            let mut piece = Piece::new(format!("{more} more"), "further lines", action);
            piece.lines = more;
            pieces.push(piece.refused(reason.to_string()));
        }
    }
    if draft.to.is_empty() {
        return Ok(pieces);
    }
    let mut piece = Piece::new("list", format!("{} format", report.format), action);
    piece.lines = draft.to.len() + draft.to_not.len();
    pieces.insert(0, piece.with(Ok(vec![draft])));
    Ok(pieces)
}

fn destination(entry: &Entry) -> Result<String, String> {
    if entry.important || entry.purpose == Purpose::Cancel || !entry.conditions.is_empty() {
        return Err("its modifiers mean nothing in a rule: use it as a list".to_owned());
    }
    match &entry.target {
        Target::Name(name, Reach::Exact) if name.as_str().contains('.') => Ok(name.to_string()),
        Target::Name(name, Reach::Exact) => Ok(format!("{name}.")),
        Target::Name(name, Reach::Within) => Ok(format!(".{name}")),
        Target::Name(name, Reach::Below) => Ok(format!("*.{name}")),
        Target::Addresses(range) => Ok(range.to_string()),
        Target::Matching(_) => {
            Err("patterns of its kind mean nothing in a rule: use it as a list".to_owned())
        }
    }
}
