//! What identifies programs beyond their path and user: on this system the SHA-256 of their executables.

use std::fs::File;

use tidegate_policy::{App, Fact, Level, Levels};

use crate::apps::digest::Digests;

/// Finds what identifies programs. Shared by all threads that ask.
#[derive(Debug, Default)]
pub struct Identities {
    digests: Digests,
}

impl Identities {
    /// The program with these levels of its identity looked at. May take as long as it takes to read its executable, and
    /// belongs on a thread of its own.
    pub fn complete(&self, app: &App, wanted: Levels) -> App {
        let missing = wanted.without(app.identity.looked_at());
        let mut app = app.clone();
        for level in missing.iter() {
            let found = match level {
                Level::Sha256 => self.digest_of(&app),
                Level::Package
                | Level::Snap
                | Level::Flatpak
                | Level::AppImage
                | Level::Script
                | Level::UserUnit
                | Level::Slice
                | Level::ContainerName
                | Level::Gid
                | Level::Group
                | Level::Traced
                | Level::Deleted
                | Level::Preload => Fact::Unknown,
            };
            app.identity.note(level, found);
        }
        app
    }

    /// The digest of an open file in hexadecimal digits; `None` where it cannot be read.
    pub fn digest(&self, file: File) -> Option<Box<str>> {
        self.digests.of(file).ok()
    }

    fn digest_of(&self, app: &App) -> Fact<Box<str>> {
        let digest = File::open(&app.path).and_then(|file| self.digests.of(file));
        digest.map_or(Fact::Unknown, Fact::Is)
    }
}
