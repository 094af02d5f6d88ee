//! Configuration files on disk. What cannot be read becomes a problem like any other.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use tidegate_policy::document::{Problem, Severity};
use tidegate_policy::list::{ListDefinition, ListSource};

/// Largest file that is read, in bytes.
const LARGEST_FILE: u64 = 16 << 20;

/// What a path holds.
pub(super) enum Text {
    /// A file.
    Found(String),
    /// Nothing.
    Missing,
}

/// Reads a file of bounded size.
pub(super) fn read(path: &Path) -> Result<Text, Problem> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Text::Missing),
        Err(error) => return Err(unreadable(path, &error)),
    };
    let mut bytes = Vec::new();
    file.take(LARGEST_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(path, &error))?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > LARGEST_FILE) {
        let hint = format!("a file may have {} MiB: split it", LARGEST_FILE >> 20);
        return Err(problem(path, "the file is too large", Some(hint)));
    }
    String::from_utf8(bytes).map(Text::Found).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let hint = "save it as UTF-8".to_owned();
        problem(
            path,
            &format!("the file is not UTF-8 text (at byte {at})"),
            Some(hint),
        )
    })
}

/// The rule files of a folder in the order of their names. A missing folder holds none.
///
/// Names that begin with a dot are left out: editors keep their copies under such names.
pub(super) fn rule_files(folder: &Path) -> Result<Vec<PathBuf>, Problem> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(folder, &error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| unreadable(folder, &error))?.path();
        let hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden
            && path
                .extension()
                .is_some_and(|extension| extension == "toml")
        {
            paths.push(path);
        }
    }
    paths.sort_unstable();
    Ok(paths)
}

/// A file that was named is not there.
pub(super) fn missing(path: &Path) -> Problem {
    let hint = "check the path after --config, or leave --config out for the defaults";
    problem(path, "there is no such file", Some(hint.to_owned()))
}

fn unreadable(path: &Path, error: &io::Error) -> Problem {
    let denied = error.kind() == io::ErrorKind::PermissionDenied;
    let hint = denied.then(|| "let the user who runs tidegate read it".to_owned());
    problem(path, &format!("cannot be read: {error}"), hint)
}

/// A problem with the file as a whole.
fn problem(path: &Path, message: &str, hint: Option<String>) -> Problem {
    Problem {
        file: path.display().to_string(),
        line: 1,
        column: 1,
        severity: Severity::Error,
        message: message.to_owned(),
        hint,
    }
}

/// Lists whose files are not there: they may still come.
pub(super) fn missing_lists(lists: &[ListDefinition]) -> Vec<Problem> {
    let missing = lists.iter().filter_map(|list| {
        let ListSource::File(path) = &list.source else {
            return None;
        };
        (!path.exists()).then(|| Problem {
            file: list.origin.file.to_string(),
            line: list.origin.line,
            column: list.origin.column,
            severity: Severity::Warning,
            message: format!(
                "the list \"{}\" cannot be read: {} is not there",
                list.name,
                path.display()
            ),
            hint: Some(
                "until it is there nothing is known of this list, and rules on it match nothing"
                    .to_owned(),
            ),
        })
    });
    missing.collect()
}
