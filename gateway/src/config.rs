//! The configuration: one main file and a folder of rule files beside it.
//!
//! `tidegate.toml` holds `[capture]`, `[geo]`, `[policy]` and rules; every `rules.d/*.toml` beside it adds rules, in the order of
//! the file names. Ahead of all stand those of `quick.toml`, which commands write. Everything that is wrong is reported at once, each problem with its file, line and column. A
//! configuration with an error is never used in part.

mod capture;
mod files;
mod geo;
mod texts;

use std::fmt;
use std::path::{Path, PathBuf};

use tidegate_platform::local_time;
use tidegate_policy::document::{Document, Problem};
use tidegate_policy::{Allowed, Feed, Policy, PolicySource, Refusal};

use crate::ask::ANSWERS_FILE;
use crate::quick;
use files::Text;

pub use geo::Geo;
pub use texts::Texts;

pub use capture::{Capture, Ebpf, Existing, ForeignMarks, Inbound};

/// Where the configuration is when nobody says otherwise.
pub const DEFAULT_FILE: &str = "/etc/tidegate/tidegate.toml";

/// The facts about flows that the data plane gathers beyond addresses, ports and programs.
const FEEDS: [Feed; 2] = [Feed::Places, Feed::Lists];

/// What stands before what `tidegate exec --deny-all` lets pass, and so in its rules' names.
const ALLOW_OPTION: &str = "--allow";

/// Reads what `--allow` lets pass.
///
/// # Errors
/// As [`Allowed::parse`].
pub fn allowed(text: &str) -> Result<Allowed, Refusal> {
    // A command line names no database to look places up in.
    Allowed::parse(text, &[])
}

/// Answers are about what questions name; lists are the other files', and known by their order there.
fn without_lists(feeds: &[Feed]) -> Vec<Feed> {
    let others = feeds.iter().filter(|feed| **feed != Feed::Lists);
    others.copied().collect()
}

/// The folder of rule files, beside the main file.
const RULES_FOLDER: &str = "rules.d";

/// Where a configuration is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSource {
    file: PathBuf,
    if_missing: IfMissing,
}

/// What it means that the main file is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
enum IfMissing {
    /// The defaults hold: allow and watch.
    Defaults,
    /// Someone named it, so something is wrong.
    Error,
    /// There is to be none: only what the command line allows passes.
    Only(Vec<Allowed>),
}

/// A configuration without errors.
#[derive(Debug)]
pub struct Config {
    /// How traffic is captured.
    pub capture: Capture,
    /// Databases of places.
    pub geo: Geo,
    /// The compiled rules.
    pub policy: Policy,
    /// Every file that was read, in order.
    pub files: Vec<PathBuf>,
    /// What they say.
    pub texts: Texts,
    /// What is suspect, but usable.
    pub warnings: Vec<Problem>,
    /// The `[[test]]`s that fail: the rules can be used, but do not what their author expects.
    pub failures: Vec<Problem>,
}

/// All that is wrong with a configuration: at least one error, and any warnings beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// In the order of files, lines and columns.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl ConfigSource {
    /// What a command's `--config` means. Without it, [`DEFAULT_FILE`], which need not be there.
    pub fn new(named: Option<PathBuf>) -> Self {
        match named {
            Some(file) => Self {
                file,
                if_missing: IfMissing::Error,
            },
            None => Self {
                file: DEFAULT_FILE.into(),
                if_missing: IfMissing::Defaults,
            },
        }
    }

    /// No file: what the command line allows passes, and nothing else.
    pub fn only(allowed: Vec<Allowed>) -> Self {
        Self {
            file: PathBuf::new(),
            if_missing: IfMissing::Only(allowed),
        }
    }

    /// Whether there are files that may change.
    pub fn has_files(&self) -> bool {
        !matches!(self.if_missing, IfMissing::Only(_))
    }

    /// The files that rules are read from, as far as they are there.
    ///
    /// # Errors
    /// The folder of rule files cannot be read.
    pub fn rule_files(&self) -> Result<Vec<PathBuf>, ConfigError> {
        let [_, folder] = self.folders();
        let mut files = files::rule_files(&folder).map_err(|problem| ConfigError {
            problems: vec![problem],
        })?;
        files.insert(0, self.file().to_owned());
        files.retain(|file| file.is_file());
        Ok(files)
    }

    /// The main file; an empty path where there is to be none.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The file of quick rules, beside the main file; absent where there are no files.
    pub fn quick_file(&self) -> Option<PathBuf> {
        let [folder, _] = self.folders();
        self.has_files().then(|| folder.join(quick::FILE))
    }

    /// The folder of the main file, and the folder of rule files.
    pub fn folders(&self) -> [PathBuf; 2] {
        let folder = match self.file().parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        [folder.to_owned(), folder.join(RULES_FOLDER)]
    }
}

impl Config {
    /// Reads and compiles a configuration to be put in force: conditions on what is not known of live flows are errors.
    ///
    /// # Errors
    /// Every problem of every file, if there is an error among them.
    pub fn load(source: &ConfigSource) -> Result<Self, ConfigError> {
        Self::load_for(source, &FEEDS)
    }

    /// Reads and compiles a configuration for someone who can give these kinds of facts.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_for(source: &ConfigSource, feeds: &[Feed]) -> Result<Self, ConfigError> {
        Self::load_files(source, feeds, None)
    }

    fn load_files(
        source: &ConfigSource,
        feeds: &[Feed],
        further: Option<&Path>,
    ) -> Result<Self, ConfigError> {
        if let IfMissing::Only(allowed) = &source.if_missing {
            return Draft {
                policy: PolicySource::only(allowed.iter().cloned(), ALLOW_OPTION),
                ..Draft::default()
            }
            .finish();
        }
        let mut draft = Draft {
            policy: PolicySource::fed_by(feeds),
            answers: PolicySource::fed_by(&without_lists(feeds)),
            ..Draft::default()
        };
        if let Some(quick) = source.quick_file() {
            draft.read_rules(&quick);
        }
        draft.read_main(source);
        let [_, folder] = source.folders();
        match files::rule_files(&folder) {
            Ok(mut paths) => {
                paths.extend(further.map(Path::to_owned));
                paths.sort_unstable();
                paths.iter().for_each(|path| draft.read_rules(path));
            }
            Err(problem) => draft.problems.push(problem),
        }
        draft.finish()
    }

    /// The configuration as [`load`](Self::load) reads it, with a further rule file in its place among the others.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_with(source: &ConfigSource, further: &Path) -> Result<Self, ConfigError> {
        Self::load_files(source, &FEEDS, Some(further))
    }

    /// A configuration of this one text, for the fuzz target.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    #[cfg(fuzzing)]
    pub fn of_text(text: &str) -> Result<Self, ConfigError> {
        let mut draft = Draft::default();
        draft.read_document(Path::new("fuzz.toml"), text, Draft::main_document);
        draft.finish()
    }
}

/// What has been read so far.
#[derive(Debug, Default)]
struct Draft {
    capture: Capture,
    geo: Geo,
    policy: PolicySource,
    answers: PolicySource,
    texts: Texts,
    files: Vec<PathBuf>,
    problems: Vec<Problem>,
}

impl Draft {
    fn read_main(&mut self, source: &ConfigSource) {
        let path = source.file();
        match (files::read(path), &source.if_missing) {
            (Ok(Text::Missing), IfMissing::Defaults) => {}
            (Ok(Text::Missing), IfMissing::Error | IfMissing::Only(_)) => {
                self.problems.push(files::missing(path))
            }
            (Ok(Text::Found(text)), _) => self.read_document(path, &text, Self::main_document),
            (Err(problem), _) => self.problems.push(problem),
        }
    }

    fn main_document(&mut self, document: &Document) {
        if let Some(section) = document.root().section("capture") {
            self.capture = Capture::read(section);
        }
        if let Some(section) = document.root().section("geo") {
            self.geo = Geo::read(section);
        }
        self.policy.read_main(document);
    }

    fn read_rules(&mut self, path: &Path) {
        match files::read(path) {
            // There is none yet, or it was removed since the folder was listed.
            Ok(Text::Missing) => {}
            Ok(Text::Found(text)) => self.read_document(path, &text, |draft, document| {
                if path.file_name().is_some_and(|name| name == ANSWERS_FILE) {
                    draft.answers.read_answers(document);
                } else {
                    draft.policy.read_rules(document);
                }
            }),
            Err(problem) => self.problems.push(problem),
        }
    }

    fn read_document(&mut self, path: &Path, text: &str, read: impl FnOnce(&mut Self, &Document)) {
        self.files.push(path.to_owned());
        self.texts.add(path, text);
        match Document::parse(&path.display().to_string(), text) {
            Ok(document) => {
                read(self, &document);
                self.problems.extend(document.finish());
            }
            Err(problems) => self.problems.extend(problems),
        }
    }

    fn finish(mut self) -> Result<Config, ConfigError> {
        if self.problems.iter().any(Problem::is_error) {
            return Err(ConfigError {
                problems: self.problems,
            });
        }
        self.problems.extend(self.policy.review());
        self.problems.extend(self.geo.problems(&self.policy));
        self.problems
            .extend(files::missing_lists(&self.policy.lists));
        self.problems.extend(self.answers.review());
        if self.problems.iter().any(Problem::is_error) {
            return Err(ConfigError {
                problems: self.problems,
            });
        }
        let tests = std::mem::take(&mut self.policy.tests);
        let answers = Policy::compile(self.answers);
        let policy = Policy::compile(self.policy).answered_by(answers);
        self.problems.extend(policy.expired(local_time::now().now));
        Ok(Config {
            capture: self.capture,
            geo: self.geo,
            failures: policy.failures(&tests),
            policy,
            texts: self.texts,
            files: self.files,
            warnings: self.problems,
        })
    }
}

#[cfg(test)]
mod tests;
