//! Our rules as those of other programs, where the meaning survives.
//!
//! Each rule is written, read back by the importer, and compared: what does not come back the same is refused, with the
//! reason. So is a rule that allows behind a refused one that may block, and, where the other program would try the rules
//! in another order, the file as a whole.
//!
//! ```
//! use tidegate_policy::export;
//! use tidegate_policy::import::{Format, Options};
//!
//! let rules = "[[rule]]\nname = \"ads\"\nto = [\".ads.example\", \"192.0.2.7\"]\naction = \"block\"\n";
//! let export = export::write(Format::List, "rules.toml", rules, Options::default()).unwrap();
//! assert_eq!(export.files[0].text, "||ads.example^\n||192.0.2.7^\n");
//! ```

mod atoms;
mod formats;
mod read;

use crate::document::Refusal;
use crate::import::draft::Draft;
use crate::import::order;
use crate::import::piece::Piece;
use crate::import::{self, File, Format, Options, Report};

/// One file for the other program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its name.
    pub name: String,
    /// What is in it.
    pub text: String,
}

/// Rules for another program, and what became of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// The files: one, but for OpenSnitch, which has one for each rule.
    pub files: Vec<Written>,
    /// What became of our rules; none was narrowed.
    pub report: Report,
}

/// How many single conditions the rules of one export may stand for.
const MOST_ATOMS: usize = 10_000;

/// Writes the rules of a rule file for another program.
///
/// # Errors
/// A file with errors, more rules than the importer reads, and rules that the other program would try in another order.
pub fn write(format: Format, file: &str, text: &str, options: Options) -> Result<Export, Refusal> {
    let pieces = read::rules(file, text)?;
    let pieces: Vec<Piece> = pieces
        .into_iter()
        .map(|piece| checked(format, options, piece))
        .collect();
    let mut report = Report::default();
    let mut all: Vec<Draft> = Vec::new();
    for piece in order::without_widening(pieces) {
        report.count(&piece);
        all.extend(piece.drafts.unwrap_or_default());
    }
    if all.len() > MOST_ATOMS {
        let message = format!("the rules stand for more than {MOST_ATOMS} single ones");
        return Err(Refusal::new(message, "export them in parts"));
    }
    let files = formats::files(format, &all)
        .map_err(|reason| Refusal::new(reason, "export the rules in parts"))?;
    if !all.is_empty() {
        compare(format, options, &files, &all).map_err(|reason| {
            let hint = "export rules that allow and rules that block apart, or order them as the other program does";
            Refusal::new(format!("taken together, {reason}"), hint)
        })?;
    }
    Ok(Export { files, report })
}

/// The rule as single ones, if each comes back as it is.
fn checked(format: Format, options: Options, mut piece: Piece) -> Piece {
    let Ok(drafts) = &piece.drafts else {
        return piece;
    };
    if !formats::has_actions(format) && piece.action != options.action {
        let reason = format!(
            "it says {}, and this export is of what is to be {}ed",
            piece.action, options.action
        );
        return piece.refused(reason.replace("droped", "dropped"));
    }
    let checked = drafts
        .iter()
        .map(atoms::of)
        .collect::<Result<Vec<_>, _>>()
        .map(|atoms| atoms.concat())
        .and_then(|atoms| {
            let files = formats::files(format, &atoms)?;
            compare(format, options, &files, &atoms)?;
            Ok(atoms)
        });
    piece.drafts = checked;
    piece
}

/// Reads the files back, and says what is not the same.
fn compare(
    format: Format,
    options: Options,
    files: &[Written],
    atoms: &[Draft],
) -> Result<(), String> {
    let files: Vec<_> = files
        .iter()
        .map(|file| File {
            name: &file.name,
            bytes: file.text.as_bytes(),
        })
        .collect();
    let import = import::read(format, &files, options).map_err(|refusal| refusal.message)?;
    if let Some(note) = import.report.notes.first() {
        return Err(note.reason.clone());
    }
    let mut back = Vec::new();
    for draft in &import.drafts {
        back.extend(atoms::of(draft)?);
    }
    let mut wanted = atoms.to_vec();
    for draft in back.iter_mut().chain(&mut wanted) {
        draft.name.clear();
    }
    let ordered = formats::has_actions(format)
        && wanted.iter().any(Draft::allows)
        && !wanted.iter().all(Draft::allows);
    if !ordered {
        for drafts in [&mut back, &mut wanted] {
            drafts.sort_by_key(ToString::to_string);
            drafts.dedup();
        }
    }
    if back == wanted {
        return Ok(());
    }
    Err("it would not mean the same there".to_owned())
}

#[cfg(test)]
mod tests;
