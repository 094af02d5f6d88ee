//! The file of answers: rules that are added at its end, with what the user wrote left as it is.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use tidegate_policy::{Document, PolicySource, Problem};

use super::memory::{Remembered, To, Until};
use super::topic::Asker;
use crate::audit::Author;
use crate::record::Timestamp;
use crate::replace_file::replace_file;
use crate::rule_text::{literal, quoted};

/// Name of the file in the folder of rule files.
pub const ANSWERS_FILE: &str = "50-answers.toml";

/// Largest file to which answers are added: thousands of them.
const LARGEST: u64 = 2 << 20;

const HEAD: &str = "\
# Answers to questions, as rules. They are tried where another rule, or the default, says `ask`, and nowhere else.
# Tidegate adds to the end of this file, and changes nothing of what is there: remove or change what you like.
";

/// The file of answers in a folder of rule files.
#[derive(Debug)]
pub struct RulesFile {
    folder: PathBuf,
}

/// Why an answer is no rule on disk.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error("cannot {step} {}: {source}", path.display())]
    System {
        step: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{} has an error: {problem}", path.display())]
    Broken { path: PathBuf, problem: Problem },
    #[error("{} is larger than {} MiB: take out what you need no more", .0.display(), LARGEST >> 20)]
    TooLarge(PathBuf),
    #[error("{} is a link: put a file there", .0.display())]
    Link(PathBuf),
    #[error("this tidegate was started without a configuration file")]
    NoFile,
    #[error("the name of the program's file is not UTF-8, so no rule can have it")]
    NotText,
}

impl RulesFile {
    /// In this folder, which need not exist.
    pub fn in_folder(folder: PathBuf) -> Self {
        Self { folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.join(ANSWERS_FILE)
    }

    /// Adds the answer's rule. On disk there is the old file or the new one at every moment.
    pub(super) fn add(&self, answer: &Remembered, author: &Author) -> Result<PathBuf, WriteError> {
        let path = self.path();
        let system = |step, path: &Path| {
            let path = path.to_owned();
            move |source| WriteError::System { step, path, source }
        };
        let rule = rule(answer, author).ok_or(WriteError::NotText)?;
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&self.folder)
            .map_err(system("make", &self.folder))?;
        let folder = File::open(&self.folder).map_err(system("open", &self.folder))?;
        // Another gateway may have the same configuration.
        folder.lock().map_err(system("lock", &self.folder))?;
        let old = self.read()?;
        let separator = if old.is_empty() || old.ends_with('\n') {
            "\n"
        } else {
            "\n\n"
        };
        let new = format!("{old}{separator}{rule}");
        check(&path, &new)?;
        replace_file(&path, new.as_bytes()).map_err(system("write", &path))?;
        Ok(path)
    }

    /// The file's text; of a file that is not there, what it begins with.
    fn read(&self) -> Result<String, WriteError> {
        let path = self.path();
        let system = |source| WriteError::System {
            step: "read",
            path: path.clone(),
            source,
        };
        let found = match fs::symlink_metadata(&path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(HEAD.to_owned());
            }
            Err(error) => return Err(system(error)),
        };
        if found.is_symlink() {
            return Err(WriteError::Link(path));
        }
        if found.len() > LARGEST {
            return Err(WriteError::TooLarge(path));
        }
        let mut text = String::new();
        File::open(&path)
            .and_then(|file| file.take(LARGEST).read_to_string(&mut text))
            .map_err(system)?;
        Ok(text)
    }
}

/// Whether it can be used: an answer is never the reason that a configuration cannot be read.
fn check(path: &Path, text: &str) -> Result<(), WriteError> {
    let name = path.display().to_string();
    let problems = match Document::parse(&name, text) {
        Ok(document) => {
            PolicySource::default().read_answers(&document);
            document.finish()
        }
        Err(problems) => problems,
    };
    match problems.into_iter().find(Problem::is_error) {
        None => Ok(()),
        Some(problem) => Err(WriteError::Broken {
            path: path.to_owned(),
            problem,
        }),
    }
}

/// The answer as a rule; none where the program's path is no text.
pub(super) fn rule(answer: &Remembered, author: &Author) -> Option<String> {
    let Asker::Program {
        path,
        uid,
        container,
    } = &answer.asker
    else {
        return None;
    };
    let path = path.to_str()?;
    let to = match &answer.to {
        To::Anywhere => None,
        To::One(end) => Some(match end.name() {
            // One of a single label is written with its dot.
            Some(name) if !name.as_str().contains('.') => format!("{name}."),
            _ => end.to_string(),
        }),
        To::Within(name) => Some(format!(".{name}")),
    };
    let program = path.rsplit('/').next().unwrap_or(path);
    let mut name = format!("{program} of user {uid}");
    for part in [to.as_deref(), answer.service.as_deref()]
        .into_iter()
        .flatten()
    {
        name.push(' ');
        name.push_str(part);
    }
    let container = container
        .as_deref()
        .map(|id| format!(", container = {}", quoted(id)));
    let mut rule = format!(
        "# Answered {} by {author}.\n[[rule]]\nname = {}\napp = {{ path = {}, uid = {uid}{} }}\n",
        Timestamp::now(),
        quoted(&name),
        quoted(&literal(path)),
        container.unwrap_or_default(),
    );
    let lines = [("to", to), ("port", answer.service.clone())];
    for (key, value) in lines {
        if let Some(value) = value {
            rule.push_str(&format!("{key} = {}\n", quoted(&value)));
        }
    }
    if answer.is_incoming {
        rule.push_str("direction = \"in\"\n");
    }
    rule.push_str(&format!("action = \"{}\"\n", answer.verdict));
    Some(rule)
}

/// Whether a rule can say how long the answer holds.
pub(super) fn can_say(until: &Until) -> bool {
    match until {
        Until::End => true,
        Until::Time(_) | Until::Processes(_) => false,
    }
}
