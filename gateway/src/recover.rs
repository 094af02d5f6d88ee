//! Undoes what an instance that died left behind on the host.
//!
//! A running instance keeps a journal of its changes beside its control socket, and holds a lock on it. So whoever finds
//! a journal without a lock knows what there is to undo: `tidegate recover`, and every start of `tidegate run`.

use std::path::{Path, PathBuf};

use tidegate_platform::host::{HostNetwork, Journal, JournalError, NetlinkError, UndoError};

/// What there was to undo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// No instance left anything behind.
    Nothing,
    /// This many changes were undone, or were gone already.
    Undone(usize),
}

/// Why not everything could be undone.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The journal is another's, or cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The kernel cannot be reached.
    #[error("cannot reach the kernel's routing: {0}")]
    Network(#[from] NetlinkError),
    /// Some changes stay; the journal keeps them.
    #[error("{}; become root, then run `tidegate recover` again", lines(.0))]
    Undo(Vec<UndoError>),
}

/// The journal of the instance whose control socket is `control`.
pub fn journal_of(control: &Path) -> PathBuf {
    control.with_extension("journal")
}

/// Undoes what the journal at `path` holds, and removes it.
///
/// # Errors
/// The journal's owner lives, or a change cannot be undone; the others are undone all the same.
pub fn recover(path: &Path) -> Result<Recovery, RecoverError> {
    let Some(journal) = Journal::load(path)? else {
        return Ok(Recovery::Nothing);
    };
    if journal.damaged_lines() > 0 {
        tracing::warn!(
            lines = journal.damaged_lines(),
            "the journal is damaged; the rest of it is used"
        );
    }
    let changes = journal.changes().len();
    let failed = HostNetwork::open()?.undo(&journal);
    if !failed.is_empty() {
        return Err(RecoverError::Undo(failed));
    }
    journal.clear()?;
    Ok(if changes == 0 {
        Recovery::Nothing
    } else {
        Recovery::Undone(changes)
    })
}

fn lines(errors: &[UndoError]) -> String {
    let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
    errors.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_folder::TestFolder;

    #[test]
    fn the_journal_lies_beside_the_control_socket() {
        let journal = journal_of(Path::new(crate::control::DEFAULT_SOCKET));
        assert_eq!(journal, Path::new("/run/tidegate/control.journal"));
    }

    #[test]
    fn without_a_journal_there_is_nothing_to_undo() {
        let folder = TestFolder::new();
        let nothing = recover(&folder.path().join("none.journal"));
        assert!(matches!(nothing, Ok(Recovery::Nothing)), "{nothing:?}");
    }

    #[test]
    fn the_journal_of_an_instance_that_changed_nothing_is_removed() {
        let folder = TestFolder::new();
        let path = folder.path().join("control.journal");
        drop(Journal::open(&path, serde_json::Value::Null).unwrap());
        assert!(path.exists());
        let nothing = recover(&path);
        assert!(matches!(nothing, Ok(Recovery::Nothing)), "{nothing:?}");
        assert!(!path.exists());
    }

    #[test]
    fn the_journal_of_an_instance_that_lives_is_left_alone() {
        let folder = TestFolder::new();
        let path = folder.path().join("control.journal");
        let alive = Journal::open(&path, serde_json::Value::Null).unwrap();
        let error = recover(&path).unwrap_err();
        assert!(
            matches!(error, RecoverError::Journal(JournalError::InUse { .. })),
            "{error}"
        );
        drop(alive);
        assert!(path.exists());
    }
}
