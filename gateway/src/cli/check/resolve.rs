//! `tidegate check --resolve`: puts in the place of each `app = "auto:PATH"` the strongest identity of that program that
//! survives its updates.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, bail};
use tidegate_platform::apps::Identities;
use tidegate_platform::ownership;
use tidegate_platform::users::Users;
use tidegate_policy::document::Document;
use tidegate_policy::source::{self, Unresolved};
use tidegate_policy::{App, Fact, Level, Levels};

use crate::config::ConfigSource;
use crate::replace_file::replace_file;

const ROOT: u32 = 0;

/// Rewrites the files; says of each place what stands there now.
pub(super) fn resolve(config: &ConfigSource) -> anyhow::Result<Vec<String>> {
    let identities = Identities::default();
    let mut said = Vec::new();
    for file in config.rule_files()? {
        let Ok(text) = fs::read_to_string(&file) else {
            // What is wrong with it is for the check to say.
            continue;
        };
        let name = file.display().to_string();
        let Ok(document) = Document::parse(&name, &text) else {
            continue;
        };
        let mut lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
        // From the end, so that places before stay where they are.
        let mut places = source::unresolved(&document);
        places.sort_by_key(|place| std::cmp::Reverse((place.origin.line, place.origin.column)));
        for place in &places {
            let identity = strongest(Path::new(&place.path), &identities)
                .with_context(|| place.origin.to_string())?;
            replace(&mut lines, place, &identity)
                .with_context(|| format!("{}: write it as one plain string", place.origin))?;
            said.push(format!("{}: app = {identity}", place.origin));
        }
        if !places.is_empty() {
            replace_file(&file, lines.join("\n").as_bytes())
                .with_context(|| format!("cannot write {name}"))?;
        }
    }
    said.reverse();
    Ok(said)
}

/// The string at this place becomes `with`.
fn replace(lines: &mut [String], place: &Unresolved, with: &str) -> Option<()> {
    let line = lines.get_mut(place.origin.line.checked_sub(1)?)?;
    let before = place.origin.column.checked_sub(1)?;
    let begin = line.char_indices().nth(before)?.0;
    let quote = line.get(begin..)?.chars().next()?;
    let written = format!("{quote}{}{}{quote}", source::AUTO, place.path);
    let rest = line.get(begin..)?.strip_prefix(&written)?.to_owned();
    line.truncate(begin);
    line.push_str(with);
    line.push_str(&rest);
    Some(())
}

/// What `app` is to be for the program at `path`.
fn strongest(path: &Path, identities: &Identities) -> anyhow::Result<String> {
    let path = fs::canonicalize(path)
        .with_context(|| format!("there is no program at {}", path.display()))?;
    let text = |path: &Path| path.to_str().map(quoted).context("the path is not UTF-8");
    let name = path.file_name().map(Path::new).map(text);
    let name = name.context("this is no file")??;
    let levels = Levels::NONE.with(Level::Package).with(Level::Snap);
    let identity = identities.complete(&app(&path), levels).identity;
    for level in [Level::Snap, Level::Package] {
        if let Fact::Is(value) = identity.at(level) {
            return Ok(format!("{{ {level} = {}, name = {name} }}", quoted(value)));
        }
    }
    let written = text(&path)?;
    if ownership::writable_by_others(&path, &[ROOT])?.is_none() {
        return Ok(written);
    }
    let owner = fs::metadata(&path)?.uid();
    if owner != ROOT && ownership::writable_by_others(&path, &[ROOT, owner])?.is_none() {
        let mut users = Users::default();
        let user = match users.name(owner) {
            Some(name) => format!("user = {}", quoted(name)),
            None => format!("uid = {owner}"),
        };
        return Ok(format!("{{ path = {written}, {user} }}"));
    }
    // Whoever may write there could put anything in its place: an update needs another look.
    let Some(digest) = identities.digest(File::open(&path)?) else {
        bail!("{} cannot be read", path.display());
    };
    Ok(format!("{{ path = {written}, sha256 = \"{digest}\" }}"))
}

/// A string of TOML. Paths with wildcards or control characters are left to their author.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn app(path: &Path) -> App {
    App {
        name: String::new(),
        ..App::new(path, ROOT)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::test_folder::TestFolder;

    #[test]
    fn auto_becomes_what_survives_an_update_and_the_rest_of_the_file_stays() {
        let folder = TestFolder::new();
        let tool = folder.write("tool", "#!");
        fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
        let tool = fs::canonicalize(&tool).unwrap();
        let rules = |first: &str, second: &str| {
            format!(
                "# before\n[[rule]]\napp = {first} # of bash\naction = \"allow\"\n\n[[rule]]\n  app={second}\naction = \
                 \"block\"\n"
            )
        };
        let text = rules("\"auto:/bin/bash\"", &format!("'auto:{}'", tool.display()));
        let file = folder.write("tidegate.toml", &text);
        let config = ConfigSource::new(Some(file.clone()));
        let refused = crate::config::Config::load(&config)
            .unwrap_err()
            .to_string();
        assert_eq!(
            refused.matches("is not an identity yet").count(),
            2,
            "{refused}"
        );
        let said = resolve(&config).unwrap();
        assert_eq!(said.len(), 2, "{said:?}");
        let bash = strongest(Path::new("/bin/bash"), &Identities::default()).unwrap();
        if Path::new("/var/lib/dpkg/status").exists() {
            assert_eq!(bash, "{ package = \"deb:bash\", name = \"bash\" }");
        }
        // Everybody may write into the folder for temporary files, but sticky.
        let digest = Identities::default().digest(File::open(&tool).unwrap());
        let second = format!(
            "{{ path = \"{}\", sha256 = \"{}\" }}",
            tool.display(),
            digest.unwrap()
        );
        assert_eq!(fs::read_to_string(&file).unwrap(), rules(&bash, &second));
        assert_eq!(resolve(&config).unwrap(), Vec::<String>::new(), "once");
        crate::config::Config::load(&config).unwrap();
    }

    #[test]
    fn what_is_not_there_is_said_and_the_file_stays() {
        let folder = TestFolder::new();
        let text = "[[rule]]\napp = \"auto:/no/such\"\naction = \"allow\"\n";
        let file = folder.write("tidegate.toml", text);
        let error = resolve(&ConfigSource::new(Some(file.clone()))).unwrap_err();
        assert!(format!("{error:#}").contains("there is no program at /no/such"));
        assert_eq!(fs::read_to_string(file).unwrap(), text);
    }
}
