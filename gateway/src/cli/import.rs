//! `tidegate import`: the rules of another program as a rule file that is not in force until it is confirmed.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use tidegate_policy::import::{self, Import, Options, Report};

use super::files::ImportArgs;
use crate::config::{Config, ConfigSource};
use crate::report::counted;
use crate::terminal::{self, printable_lines};

/// What stands behind the name of a rule file that is not read.
const NOT_IN_FORCE: &str = "disabled";
/// How many files of a folder are read.
const MOST_FILES: usize = 10_000;

pub(super) fn main(args: ImportArgs) -> anyhow::Result<ExitCode> {
    let source = ConfigSource::new(args.config.clone());
    let text = match &args.confirm {
        Some(name) => confirm(&source, name)?,
        None => take_over(&source, &args)?,
    };
    terminal::print_line(&printable_lines(&text))?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the rule file, and says what became of the original.
pub(super) fn take_over(source: &ConfigSource, args: &ImportArgs) -> anyhow::Result<String> {
    let (Some(format), Some(path)) = (args.format, &args.path) else {
        bail!("name a format and a file, or an import to --confirm");
    };
    let texts = read(path)?;
    let files: Vec<_> = texts
        .iter()
        .map(|(name, bytes)| import::File { name, bytes })
        .collect();
    let options = Options {
        action: args.action.into(),
    };
    let Import { text, report, .. } =
        import::read(format.into(), &files, options).map_err(|refusal| {
            anyhow::anyhow!("{refusal}: {}", refusal.hint.as_deref().unwrap_or_default())
        })?;
    if report.accepted == 0 {
        bail!("{report}: nothing could be taken over, and nothing was written");
    }
    if args.dry_run {
        return Ok(format!("{text}\n{}", commented(&report)));
    }
    let name = match &args.name {
        Some(name) => name.clone(),
        None => name_of(path),
    };
    let file = disabled_file(source, &name);
    let folder = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&file)
        .with_context(|| {
            format!(
                "cannot write {} (choose another --name, or remove it)",
                file.display()
            )
        })?;
    written.write_all(text.as_bytes())?;
    written.sync_all()?;
    Ok(format!(
        "{report}\nwritten to {}, which is not in force. Read it, then: tidegate import --confirm {name}",
        file.display()
    ))
}

fn commented(report: &Report) -> String {
    let lines: Vec<_> = report
        .to_string()
        .lines()
        .map(|line| format!("# {line}"))
        .collect();
    lines.join("\n")
}

/// Puts an import in force, if the configuration is without errors with it.
pub(super) fn confirm(source: &ConfigSource, name: &str) -> anyhow::Result<String> {
    let disabled = disabled_file(source, name);
    let file = disabled.with_extension("");
    if !disabled.is_file() {
        bail!(
            "there is no {}: import something under this name first",
            disabled.display()
        );
    }
    if file.exists() {
        bail!(
            "{} is there already: remove it, or import under another name",
            file.display()
        );
    }
    let config = Config::load_with(source, &disabled)?;
    fs::rename(&disabled, &file)
        .with_context(|| format!("cannot rename {}", disabled.display()))?;
    Ok(format!(
        "{} is in force: {} in all. A Tidegate that runs reads it now",
        file.display(),
        counted(config.policy.len(), "rule")
    ))
}

/// `rules.d/80-imported-NAME.toml.disabled`
fn disabled_file(source: &ConfigSource, name: &str) -> PathBuf {
    let [_, folder] = source.folders();
    folder.join(format!("80-imported-{name}.toml.{NOT_IN_FORCE}"))
}

/// A name for the import, from that of the file.
fn name_of(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let plain = |letter: char| {
        if letter.is_ascii_alphanumeric() {
            letter.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    let name: String = stem.chars().map(plain).take(64).collect();
    let name = name.trim_matches('-');
    if name.is_empty() {
        "rules".to_owned()
    } else {
        name.to_owned()
    }
}

/// A file, or those of a folder in the order of their names; hidden ones are left out.
fn read(path: &Path) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let cannot = || format!("cannot read {}", path.display());
    let mut paths = Vec::new();
    if fs::metadata(path).with_context(cannot)?.is_dir() {
        for entry in fs::read_dir(path).with_context(cannot)? {
            let entry = entry.with_context(cannot)?;
            let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            if !hidden && entry.path().is_file() {
                paths.push(entry.path());
            }
            if paths.len() > MOST_FILES {
                bail!("{} holds more than {MOST_FILES} files", path.display());
            }
        }
        paths.sort_unstable();
    } else {
        paths.push(path.to_owned());
    }
    let mut left = u64::try_from(import::LARGEST).unwrap_or(u64::MAX);
    let mut files = Vec::new();
    for path in paths {
        let cannot = || format!("cannot read {}", path.display());
        let mut bytes = Vec::new();
        File::open(&path)
            .and_then(|file| file.take(left + 1).read_to_end(&mut bytes))
            .with_context(cannot)?;
        let read = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        left = left.checked_sub(read).with_context(|| {
            format!(
                "more than {} MiB to read: import it in parts",
                import::LARGEST >> 20
            )
        })?;
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        files.push((name, bytes));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::super::files::{ActionArg, FormatArg};
    use super::*;
    use crate::test_folder::TestFolder;

    const MAIN: &str = "[policy]\ndefault = \"block\"\n";
    const RULE: &str = r#"{"name": "curl", "enabled": true, "action": "allow", "duration": "always",
        "operator": {"type": "simple", "operand": "process.path", "data": "/usr/bin/curl", "sensitive": true}}"#;

    fn args(path: PathBuf) -> ImportArgs {
        ImportArgs {
            format: Some(FormatArg::OpenSnitch),
            path: Some(path),
            name: None,
            action: ActionArg::default(),
            dry_run: false,
            confirm: None,
            config: None,
        }
    }

    #[test]
    fn an_import_is_not_in_force_before_it_is_confirmed() {
        let folder = TestFolder::new();
        let source = ConfigSource::new(Some(folder.write("tidegate.toml", MAIN)));
        folder.write("Old Rules/.hidden", "not a rule");
        folder.write("Old Rules/curl.json", RULE);
        let rules = folder.path().join("Old Rules");
        let said = take_over(&source, &args(rules)).unwrap();
        insta::assert_snapshot!(folder.anonymous(&said), @"
        1 read: 1 accepted (0 of them narrowed), 0 refused, 0 disabled there
        written to DIR/rules.d/80-imported-old-rules.toml.disabled, which is not in force. Read it, then: tidegate import --confirm old-rules
        ");
        assert_eq!(Config::load(&source).unwrap().policy.len(), 0);

        confirm(&source, "old-rules").unwrap();
        assert_eq!(Config::load(&source).unwrap().policy.len(), 1);
        let again = confirm(&source, "old-rules").unwrap_err().to_string();
        assert!(again.contains("there is no"), "{again}");
    }

    #[test]
    fn what_would_break_the_configuration_is_not_confirmed() {
        let folder = TestFolder::new();
        let source = ConfigSource::new(Some(folder.write("tidegate.toml", MAIN)));
        let file = folder.write(
            "rules.d/80-imported-x.toml.disabled",
            "[[rule]]\naction = \"maybe\"\n",
        );
        let error = confirm(&source, "x").unwrap_err().to_string();
        assert!(
            error.contains("80-imported-x.toml.disabled:2:10"),
            "{error}"
        );
        assert!(file.exists());
    }

    #[test]
    fn nothing_is_written_over_and_nothing_for_nothing() {
        let folder = TestFolder::new();
        let source = ConfigSource::new(Some(folder.write("tidegate.toml", MAIN)));
        let rule = folder.write("curl.json", RULE);
        take_over(&source, &args(rule.clone())).unwrap();
        let error = format!("{:#}", take_over(&source, &args(rule.clone())).unwrap_err());
        assert!(error.contains("choose another --name"), "{error}");

        let dry = ImportArgs {
            dry_run: true,
            name: Some("dry".to_owned()),
            ..args(rule)
        };
        let said = take_over(&source, &dry).unwrap();
        assert!(said.contains("[[rule]]") && !disabled_file(&source, "dry").exists());

        let odd = folder.write("odd.json", RULE.replace("process.path", "process.id"));
        let error = take_over(&source, &args(odd)).unwrap_err().to_string();
        assert!(error.contains("nothing was written"), "{error}");
        assert!(!disabled_file(&source, "odd").exists());
    }
}
