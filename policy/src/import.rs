//! Rules of other programs, read into ours without ever letting more pass.
//!
//! An original is read rule by rule. What cannot be said exactly in our language becomes narrower: a rule that allows is
//! refused, or allows less; a rule that blocks is taken without the condition that we lack, and so blocks more. Where even
//! that cannot be done for a rule that blocks, the rules that allow behind it are refused too, unless it is certain that
//! they are about other programs, or that the original would prefer them. So whatever a rule of an import allows, the
//! original allows. Everything narrowed or refused is said, with its place and the reason.
//!
//! What the original does where none of its rules matches is not taken over: this is the default of the policy that the
//! import becomes a part of.
//!
//! ```
//! use tidegate_policy::import::{self, File, Format, Options};
//!
//! let rule = br#"{"name": "curl", "enabled": true, "action": "allow", "duration": "always",
//!   "operator": {"type": "simple", "operand": "process.path", "data": "/usr/bin/curl", "sensitive": true}}"#;
//! let file = File { name: "curl.json", bytes: rule };
//! let import = import::read(Format::OpenSnitch, &[file], Options::default()).unwrap();
//! assert_eq!(import.report.accepted, 1);
//! assert!(import.text.contains("app = \"/usr/bin/curl\""));
//! ```

mod clash;
pub(crate) mod draft;
mod json;
mod lists;
mod lsrules;
mod lulu;
mod opensnitch;
pub(crate) mod order;
mod patterns;
pub(crate) mod piece;
mod portmaster;
mod report;
mod sing_box;
mod yaml;

use crate::document::Refusal;
use crate::format;
use crate::verdict::Verdict;

pub use draft::Draft;
pub use report::{Note, NoteKind, Report};

use piece::Piece;

/// Whose rules they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// OpenSnitch: a JSON file for each rule.
    OpenSnitch,
    /// Little Snitch: `.lsrules`.
    LittleSnitch,
    /// LuLu's export.
    Lulu,
    /// Portmaster's export of an application, of settings, or of one setting: JSON or YAML.
    Portmaster,
    /// A rule set of sing-box in its source form.
    SingBox,
    /// A rule provider of Clash or mihomo: YAML or text.
    Clash,
    /// A filter list of names or addresses: hosts, AdGuard, Pi-hole and the like.
    List,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::OpenSnitch,
        Self::LittleSnitch,
        Self::Lulu,
        Self::Portmaster,
        Self::SingBox,
        Self::Clash,
        Self::List,
    ];

    /// The word for it on command lines and in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenSnitch => "opensnitch",
            Self::LittleSnitch => "lsrules",
            Self::Lulu => "lulu",
            Self::Portmaster => "portmaster",
            Self::SingBox => "sing-box",
            Self::Clash => "clash",
            Self::List => "list",
        }
    }
}

/// One file of the original.
#[derive(Clone, Copy, Debug)]
pub struct File<'a> {
    /// What messages call it.
    pub name: &'a str,
    /// All of it.
    pub bytes: &'a [u8],
}

/// What the original leaves open.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What happens to what a rule set or a list names: these say only what, not what is to be done.
    pub action: Verdict,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            action: Verdict::Block,
        }
    }
}

/// Rules in our language, and what became of the original's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// A rule file.
    pub text: String,
    /// The rules in it.
    pub drafts: Vec<Draft>,
    /// What became of the original's rules.
    pub report: Report,
}

/// What all files of an import may hold, in bytes.
pub const LARGEST: usize = 16 << 20;
/// How many rules are read of one import.
const MOST_RULES: usize = 10_000;
/// How many destinations the rules of one import may name.
const MOST_DESTINATIONS: usize = 200_000;

/// Reads rules.
///
/// # Errors
/// What is not of this format as a whole, or too large.
pub fn read(format: Format, files: &[File<'_>], options: Options) -> Result<Import, Refusal> {
    if files.iter().map(|file| file.bytes.len()).sum::<usize>() > LARGEST {
        let message = format!("the files hold more than {} MiB", LARGEST >> 20);
        return Err(Refusal::new(message, "import them in parts"));
    }
    let mut pieces = Vec::new();
    for file in files {
        let text = std::str::from_utf8(file.bytes).map_err(|error| {
            let message = format!(
                "{}: not UTF-8 text (at byte {})",
                file.name,
                error.valid_up_to()
            );
            Refusal::new(message, "save it as UTF-8")
        })?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let read = match format {
            Format::OpenSnitch => opensnitch::read(file.name, text),
            Format::LittleSnitch => lsrules::read(text),
            Format::Lulu => lulu::read(text),
            Format::Portmaster => portmaster::read(text),
            Format::SingBox => sing_box::read(text, options.action),
            Format::Clash => clash::read(text, options.action),
            Format::List => lists::read(text, options.action),
        };
        pieces.extend(read.map_err(|refusal| in_file(file.name, refusal))?);
        if pieces.len() > MOST_RULES {
            let message = format!("there are more than {MOST_RULES} rules");
            return Err(Refusal::new(message, "import them in parts"));
        }
    }
    let pieces = match format {
        Format::OpenSnitch => opensnitch::in_order(pieces),
        Format::LittleSnitch | Format::Lulu => order::by_rank(pieces),
        Format::Portmaster | Format::SingBox | Format::Clash | Format::List => pieces,
    };
    finish(format, order::without_widening(pieces))
}

fn in_file(name: &str, refusal: Refusal) -> Refusal {
    Refusal {
        message: format!("{name}: {}", refusal.message),
        hint: refusal.hint,
    }
}

fn finish(format: Format, pieces: Vec<Piece>) -> Result<Import, Refusal> {
    let mut report = Report::default();
    let mut drafts: Vec<Draft> = Vec::new();
    let mut names = draft::UniqueNames::default();
    for piece in pieces {
        report.count(&piece);
        if piece.disabled {
            continue;
        }
        for mut draft in piece.drafts.unwrap_or_default() {
            draft.name = names.unique(draft.name);
            drafts.push(draft);
        }
    }
    let destinations: usize = drafts.iter().map(Draft::destinations).sum();
    if destinations > MOST_DESTINATIONS {
        let message =
            format!("the rules name {destinations} destinations, more than {MOST_DESTINATIONS}");
        return Err(Refusal::new(message, "import them in parts"));
    }
    let mut text = format!(
        "# From {}: {} read, {} accepted, {} narrowed, {} refused, {} disabled there.\n",
        format.as_str(),
        report.read,
        report.accepted,
        report.narrowed,
        report.refused,
        report.disabled
    );
    for draft in &drafts {
        text.push('\n');
        text.push_str(&draft.to_string());
    }
    let text = format::format("import", &text).map_err(|problems| {
        let problem = problems.first().map(ToString::to_string);
        Refusal::new(
            problem.unwrap_or_default(),
            "report this: the importer wrote it",
        )
    })?;
    Ok(Import {
        text,
        drafts,
        report,
    })
}

#[cfg(test)]
mod tests;
