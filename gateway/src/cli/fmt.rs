//! `tidegate fmt`: rule files in their one layout.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use tidegate_policy::format::format;

use super::files::FmtArgs;
use crate::replace_file::replace_file;
use crate::terminal::{self, printable_lines};

/// Largest file that is read, in bytes.
const LARGEST_FILE: u64 = 16 << 20;

pub(super) fn main(args: &FmtArgs) -> anyhow::Result<ExitCode> {
    let mut clean = true;
    for path in &args.files {
        match one(path, args.check) {
            Ok(Found::AsItShould) => {}
            Ok(Found::Otherwise) if args.check => {
                clean = false;
                terminal::print_line(&printable_lines(&format!(
                    "{} is not formatted",
                    path.display()
                )))?;
            }
            Ok(Found::Otherwise) => {}
            Err(error) => {
                clean = false;
                terminal::complain(&format!("{error:#}"));
            }
        }
    }
    Ok(if clean {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// How a file was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    AsItShould,
    Otherwise,
}

/// Formats a file in its place, or only looks.
pub(super) fn one(path: &Path, only_look: bool) -> anyhow::Result<Found> {
    let text = read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let formatted = format(&path.display().to_string(), &text).map_err(|problems| {
        let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
        anyhow::anyhow!(lines.join("\n"))
    })?;
    if formatted == text {
        return Ok(Found::AsItShould);
    }
    if !only_look {
        // A link stays one.
        fs::canonicalize(path)
            .and_then(|path| replace_file(&path, formatted.as_bytes()))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(Found::Otherwise)
}

fn read(path: &Path) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(LARGEST_FILE + 1)
        .read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > LARGEST_FILE) {
        bail!("a file may have {} MiB: split it", LARGEST_FILE >> 20);
    }
    Ok(String::from_utf8(bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_folder::TestFolder;

    #[test]
    fn a_file_is_formatted_once_and_only_where_that_is_asked_for() {
        let folder = TestFolder::new();
        let file = folder.write("a.toml", "[[rule]]\naction='block' # all\n");
        assert_eq!(one(&file, true).unwrap(), Found::Otherwise);
        assert!(
            fs::read_to_string(&file)
                .unwrap()
                .contains("action='block'")
        );
        assert_eq!(one(&file, false).unwrap(), Found::Otherwise);
        assert_eq!(
            fs::read_to_string(&file).unwrap(),
            "[[rule]]\naction = 'block' # all\n"
        );
        assert_eq!(one(&file, true).unwrap(), Found::AsItShould);
        // Nothing is left beside it.
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_no_toml_stays() {
        let folder = TestFolder::new();
        let file = folder.write("a.toml", "[[rule]\n");
        let error = format!("{:#}", one(&file, false).unwrap_err());
        assert!(error.contains("a.toml:1:"), "{error}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "[[rule]\n");
    }
}
