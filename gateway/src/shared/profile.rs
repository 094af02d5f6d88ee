//! Which profile the user has chosen, kept over a restart.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tidegate_policy::{Profile, ProfileChoice};

use crate::replace_file::replace_file;

/// Longest choice that is read: a name has at most 64 characters.
const LONGEST: usize = 256;

/// The user's choice, and the file that keeps it.
#[derive(Debug, Default)]
pub(super) struct ChosenProfile {
    pub(super) choice: ProfileChoice,
    pub(super) file: Option<PathBuf>,
}

impl ChosenProfile {
    /// What the file keeps; without one, that profiles go by their own conditions.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub(super) fn load(file: PathBuf) -> io::Result<Self> {
        let text = match fs::read_to_string(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            read => read?,
        };
        let name = text.trim();
        let is_name = name.len() <= LONGEST && !name.is_empty() && name != Profile::BY_CONTEXT;
        let choice = if is_name {
            ProfileChoice::Named(name.into())
        } else {
            ProfileChoice::ByContext
        };
        Ok(Self {
            choice,
            file: Some(file),
        })
    }

    /// Keeps a choice, as a whole or not at all.
    ///
    /// # Errors
    /// The file or its folder cannot be written.
    pub(super) fn keep(&self, choice: &ProfileChoice) -> io::Result<()> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        fs::create_dir_all(file.parent().unwrap_or(Path::new("/")))?;
        replace_file(file, format!("{}\n", name_of(choice)).as_bytes())
    }
}

/// What people call a choice.
pub(super) fn name_of(choice: &ProfileChoice) -> &str {
    match choice {
        ProfileChoice::ByContext => Profile::BY_CONTEXT,
        ProfileChoice::Named(name) => name,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::audit::{self, Audit, Author, Subject};

    use crate::shared::Shared;
    use crate::test_folder::TestFolder;

    /// The generation, and how often the workers were woken, after this profile was chosen.
    fn after_choice(rules: &str, name: &str) -> (u64, u32) {
        let shared = Shared::under(rules);
        let woken = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&woken);
        shared.on_change(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let choice = ProfileChoice::Named(name.into());
        shared
            .choose_profile(choice.clone(), Author::Gateway)
            .unwrap();
        let active = shared.policy.load();
        assert_eq!(active.context.profile, choice);
        (active.generation, woken.load(Ordering::Relaxed))
    }

    #[test]
    fn flows_are_judged_again_only_if_a_rule_asks_for_what_has_changed() {
        let profiles = "[[profile]]\nname = \"a\"\n[[profile]]\nname = \"b\"\n";
        let rule = "[[rule]]\nprofile = \"a\"\naction = \"block\"\n";
        let rules = [profiles, rule].concat();
        assert_eq!(after_choice(&rules, "a"), (2, 1));
        assert_eq!(after_choice(&rules, "b"), (1, 0));
        assert_eq!(after_choice(profiles, "a"), (1, 0));
    }

    #[test]
    fn a_choice_that_cannot_be_kept_has_no_effect() {
        let folder = TestFolder::new();
        let file = folder.write("file", "travel\n");
        let shared = Shared::under("");
        shared.keep_profile_in(file.clone()).unwrap();
        let chosen = ProfileChoice::Named("travel".into());
        assert_eq!(shared.policy.load().context.profile, chosen);
        assert!(shared.keep_profile_in(file.join("profile")).is_err());
        // Where the new text would be written first.
        fs::create_dir(folder.path().join(".file.new")).unwrap();
        assert!(
            shared
                .choose_profile(ProfileChoice::ByContext, Author::Gateway)
                .is_err()
        );
        assert_eq!(shared.policy.load().context.profile, chosen);
    }

    #[test]
    fn a_choice_is_recorded_with_what_was_before_and_who_made_it() {
        let folder = TestFolder::new();
        let shared = Shared::under("");
        shared.record_changes_in(Audit::in_folder(folder.path().to_owned()));
        let author = Author::Client {
            uid: 1000,
            pid: Some(7),
        };
        // Who chooses what is chosen already changes nothing.
        for name in ["travel", "travel", "home"] {
            let choice = ProfileChoice::Named(name.into());
            shared.choose_profile(choice, author).unwrap();
        }
        let mut records = audit::read(folder.path()).unwrap().into_iter();
        for [before, after] in [["auto", "travel"], ["travel", "home"]] {
            let change = records.next().unwrap().1.change;
            assert_eq!(change.author, author);
            assert_eq!(change.subject, Subject::Setting("profile".to_owned()));
            assert_eq!(change.before.as_deref(), Some(before));
            assert_eq!(change.after.as_deref(), Some(after));
        }
        assert!(records.next().is_none());
    }

    #[test]
    fn a_choice_is_read_back_and_a_missing_file_is_none() {
        let folder = TestFolder::new();
        let file = folder.path().join("state/profile");
        let chosen = ChosenProfile::load(file.clone()).unwrap();
        assert_eq!(chosen.choice, ProfileChoice::ByContext);
        for choice in [
            ProfileChoice::Named("travel".into()),
            ProfileChoice::ByContext,
        ] {
            chosen.keep(&choice).unwrap();
            assert_eq!(ChosenProfile::load(file.clone()).unwrap().choice, choice);
        }
    }
}
