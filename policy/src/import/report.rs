//! What became of the original's rules.

use std::fmt;

use serde::Serialize;

use super::piece::Piece;

/// How many notes are kept.
const MOST_NOTES: usize = 10_000;

/// What became of the original's rules.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Rules of the original.
    pub read: usize,
    /// Those that were taken over.
    pub accepted: usize,
    /// Of these, those that let less pass here.
    pub narrowed: usize,
    /// Those that were not taken over.
    pub refused: usize,
    /// Those that are turned off in the original, which were left out.
    pub disabled: usize,
    /// What was narrowed and refused, and why.
    pub notes: Vec<Note>,
}

/// Why a rule is not what it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// What the original calls it.
    pub label: String,
    /// Where it stands in the original.
    pub place: String,
    /// What became of it.
    pub kind: NoteKind,
    /// Why.
    pub reason: String,
}

/// What became of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NoteKind {
    /// It lets less pass.
    Narrowed,
    /// It was not taken over.
    Refused,
}

impl Report {
    pub(crate) fn count(&mut self, piece: &Piece) {
        self.read += piece.lines;
        if piece.disabled {
            self.disabled += piece.lines;
            return;
        }
        match &piece.drafts {
            Ok(_) => {
                self.accepted += piece.lines;
                self.narrowed += usize::from(!piece.narrowed.is_empty());
                for reason in &piece.narrowed {
                    self.note(piece, NoteKind::Narrowed, reason);
                }
            }
            Err(reason) => {
                self.refused += piece.lines;
                self.note(piece, NoteKind::Refused, reason);
            }
        }
    }

    fn note(&mut self, piece: &Piece, kind: NoteKind, reason: &str) {
        if self.notes.len() < MOST_NOTES {
            self.notes.push(Note {
                label: piece.label.clone(),
                place: piece.place.clone(),
                kind,
                reason: reason.to_owned(),
            });
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            NoteKind::Narrowed => "narrowed",
            NoteKind::Refused => "refused",
        };
        let Self {
            label,
            place,
            reason,
            ..
        } = self;
        write!(f, "{place}: {kind}: \"{label}\": {reason}")
    }
}

impl fmt::Display for Report {
    /// A line for each note, then the counts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for note in &self.notes {
            writeln!(f, "{note}")?;
        }
        write!(
            f,
            "{} read: {} accepted ({} of them narrowed), {} refused, {} disabled there",
            self.read, self.accepted, self.narrowed, self.refused, self.disabled
        )
    }
}
