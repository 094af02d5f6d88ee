//! Which records a reader wants to see.

use std::os::unix::ffi::OsStrExt;

use tidegate_policy::document::Refusal;
use tidegate_policy::{Pattern, Verdict};

use super::{AppRecord, FlowRecord};

/// Conditions on a record; all of them hold for what passes. The default passes everything.
#[derive(Clone, Debug, Default)]
pub struct FlowFilter {
    app: Option<AppGlob>,
    verdict: Option<Verdict>,
}

#[derive(Clone, Debug)]
struct AppGlob {
    pattern: Pattern,
    on: MatchOn,
}

/// What a pattern is held against.
#[derive(Clone, Copy, Debug)]
enum MatchOn {
    /// A pattern with a slash: the whole path of the executable.
    Path,
    /// A pattern without: its file name.
    Name,
}

impl FlowFilter {
    /// Records of programs that match `app` (a pattern as rules
    /// write it: with a slash for the path, without for the name) and that got
    /// this verdict.
    ///
    /// # Errors
    /// The glob does not parse.
    pub fn new(app: Option<&str>, verdict: Option<Verdict>) -> Result<Self, Refusal> {
        let app = app.map(AppGlob::new).transpose()?;
        Ok(Self { app, verdict })
    }

    /// Whether the record passes.
    pub fn passes(&self, record: &FlowRecord) -> bool {
        let mut owners = record.app.iter().chain(&record.other_owners);
        let app = self
            .app
            .as_ref()
            .is_none_or(|glob| owners.any(|app| glob.matches(app)));
        app && self
            .verdict
            .is_none_or(|verdict| record.verdict == Some(verdict))
    }
}

impl AppGlob {
    fn new(pattern: &str) -> Result<Self, Refusal> {
        let on = if pattern.contains('/') {
            MatchOn::Path
        } else {
            MatchOn::Name
        };
        Ok(Self {
            pattern: Pattern::parse(pattern)?,
            on,
        })
    }

    fn matches(&self, app: &AppRecord) -> bool {
        match self.on {
            MatchOn::Path => self.pattern.matches(app.path.as_os_str().as_bytes()),
            MatchOn::Name => self.pattern.matches(app.name.as_bytes()),
        }
    }
}
