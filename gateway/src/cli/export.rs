//! `tidegate export`: the rules of a file as those of another program.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use tidegate_policy::export::{self, Export};
use tidegate_policy::import::{self, Format, Options};

use super::files::ExportArgs;
use crate::terminal;

pub(super) fn main(args: &ExportArgs) -> anyhow::Result<ExitCode> {
    let export = export(args)?;
    terminal::report(&format!(
        "{}\n",
        terminal::printable_lines(&export.report.to_string())
    ));
    match &args.to {
        Some(to) => write(args.format.into(), &export, to)?,
        None => {
            for file in &export.files {
                terminal::print_text(&file.text)?;
            }
        }
    }
    let all = export.report.refused == 0;
    Ok(if all {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

pub(super) fn export(args: &ExportArgs) -> anyhow::Result<Export> {
    let cannot = || format!("cannot read {}", args.rules.display());
    let mut bytes = Vec::new();
    let most = u64::try_from(import::LARGEST).unwrap_or(u64::MAX);
    File::open(&args.rules)
        .and_then(|file| file.take(most + 1).read_to_end(&mut bytes))
        .with_context(cannot)?;
    if bytes.len() > import::LARGEST {
        bail!(
            "{} is larger than {} MiB: split it",
            args.rules.display(),
            import::LARGEST >> 20
        );
    }
    let text = String::from_utf8(bytes).with_context(cannot)?;
    let options = Options {
        action: args.action.into(),
    };
    let file = args.rules.display().to_string();
    let export =
        export::write(args.format.into(), &file, &text, options).map_err(
            |refusal| match &refusal.hint {
                Some(hint) => anyhow::anyhow!("{refusal}: {hint}"),
                None => anyhow::anyhow!("{refusal}"),
            },
        )?;
    if export.report.accepted == 0 {
        bail!("{}: nothing is left to be written", export.report);
    }
    Ok(export)
}

/// Into a folder, which may be there, or into a new file.
pub(super) fn write(format: Format, export: &Export, to: &Path) -> anyhow::Result<()> {
    let into_folder = format == Format::OpenSnitch;
    if into_folder {
        fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    }
    for file in &export.files {
        let path = if into_folder {
            to.join(&file.name)
        } else {
            to.to_owned()
        };
        File::create_new(&path)
            .and_then(|mut written| written.write_all(file.text.as_bytes()))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::files::{ActionArg, FormatArg};
    use super::*;
    use crate::test_folder::TestFolder;

    #[test]
    fn each_rule_of_opensnitch_has_a_file_and_nothing_is_written_over() {
        let folder = TestFolder::new();
        let rules = "[[rule]]\nname = \"a\"\napp = \"/a\"\naction = \"allow\"\n[[rule]]\nname = \"b\"\naction = \"block\"\n";
        let args = ExportArgs {
            format: FormatArg::OpenSnitch,
            rules: folder.write("rules.toml", rules),
            action: ActionArg::default(),
            to: None,
        };
        let export = export(&args).unwrap();
        let to = folder.path().join("out");
        write(Format::OpenSnitch, &export, &to).unwrap();
        assert_eq!(fs::read_dir(&to).unwrap().count(), 2);
        let error = format!("{:#}", write(Format::OpenSnitch, &export, &to).unwrap_err());
        assert!(error.contains("00000-a.json"), "{error}");
    }
}
