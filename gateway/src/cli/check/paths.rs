//! Rules by path whose program somebody else could replace, or that mean no program at all: what only the disk tells.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tidegate_platform::ownership;
use tidegate_platform::users::Users;
use tidegate_policy::{AppCondition, Pattern, Policy, Problem, Rule, Severity};

const ROOT: u32 = 0;
const WILDCARDS: [char; 4] = ['*', '?', '[', '{'];

/// What is odd about the places that rules name.
pub(super) fn warnings(policy: &Policy) -> Vec<Problem> {
    let mut users = Users::default();
    let rules = policy.rules().iter();
    let named = rules.filter_map(|rule| Some((rule, rule.app.as_ref()?)));
    named
        .flat_map(|(rule, app)| app.path.iter().map(move |path| (rule, app, path)))
        .filter_map(|(rule, app, path)| warning(rule, app, path, &mut users))
        .collect()
}

fn warning(rule: &Rule, app: &AppCondition, path: &Pattern, users: &mut Users) -> Option<Problem> {
    let place = fixed_part(path)?;
    if let Pattern::Exact(_) = path
        && let Ok(own) = fs::canonicalize(&place)
        && own != place
    {
        let message = format!(
            "{} is a link: no program is known by this path",
            place.display()
        );
        let hint = format!("write \"{}\", which it leads to", own.display());
        return Some(problem(rule, message, hint));
    }
    let trusted = trusted(rule, app, &place, users);
    let open = ownership::writable_by_others(&place, &trusted).ok()??;
    let message = format!(
        "{} belongs to others than root or may be written by them, so that \"{path}\" may become any program",
        open.display()
    );
    let hint = "pin it by more than its path: `package`, `sha256`, or the `user` who owns it; app = \"auto:PATH\" and \
                `tidegate check --resolve` choose"
        .to_owned();
    Some(problem(rule, message, hint))
}

/// The path, or the folder that all it stands for lie in.
fn fixed_part(path: &Pattern) -> Option<PathBuf> {
    let text = path.as_str();
    let fixed = match path {
        Pattern::Exact(_) => text,
        Pattern::Glob(_) => text[..text.find(WILDCARDS)?].rsplit_once('/')?.0,
    };
    fixed.starts_with('/').then(|| PathBuf::from(fixed))
}

/// Root, who wrote the rule, and the users whom the rule is about: each may run what he likes as himself.
fn trusted(rule: &Rule, app: &AppCondition, place: &Path, users: &mut Users) -> Vec<u32> {
    let mut trusted = vec![ROOT];
    trusted.extend(fs::metadata(&*rule.origin().file).map(|file| file.uid()));
    trusted.extend(&app.uid);
    for part in place.ancestors() {
        let owner = fs::symlink_metadata(part).map(|part| part.uid());
        let is_meant = |uid: &u32| {
            let name = users.name(*uid);
            name.is_some_and(|name| app.user.iter().any(|user| **user == *name))
        };
        trusted.extend(owner.ok().filter(is_meant));
    }
    trusted
}

fn problem(rule: &Rule, message: String, hint: String) -> Problem {
    let origin = rule.origin();
    Problem {
        file: origin.file.to_string(),
        line: origin.line,
        column: origin.column,
        severity: Severity::Warning,
        message,
        hint: Some(hint),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::config::{Config, ConfigSource};
    use crate::test_folder::TestFolder;

    #[test]
    fn places_that_others_may_write_are_warned_about() {
        let folder = TestFolder::new();
        let tool = folder.write("tool", "");
        fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
        symlink("/bin/bash", folder.path().join("link")).unwrap();
        let warned = |app: &str| {
            let app = app.replace("DIR", &folder.path().display().to_string());
            let text = format!("[[rule]]\napp = {app}\naction = \"allow\"\n");
            let file = folder.write("tidegate.toml", text);
            let config = Config::load(&ConfigSource::new(Some(file))).unwrap();
            let warnings = warnings(&config.policy);
            let texts: Vec<String> = warnings.iter().map(ToString::to_string).collect();
            folder.anonymous(&texts.join("\n"))
        };
        let bash = fs::canonicalize("/bin/bash").unwrap();
        assert_eq!(warned(&format!("{bash:?}")), "");
        assert_eq!(warned("\"/usr/bin/*\""), "");
        assert_eq!(warned("\"**/tool\""), "", "no place");
        assert!(warned("\"DIR/link\"").contains("DIR/link is a link"));
        // Everybody may write into the folder for temporary files.
        let temporary = std::env::temp_dir();
        let others = format!("{} belongs to others than root", temporary.display());
        for place in [
            "\"DIR/tool\"",
            "\"DIR/v*/tool\"",
            "{ path = \"DIR/not/there\" }",
        ] {
            assert!(
                warned(place).contains(&others),
                "{place}: {}",
                warned(place)
            );
        }
    }
}
