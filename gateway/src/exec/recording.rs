//! `--record`: every flow of the command in a file, a line of JSON each, as `tidegate flows --json` prints them.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;

use crate::record::{FlowLog, FlowRecord, Subscription};
use crate::terminal;

/// Records that may wait while the file is written: so many flows may end at once.
pub(super) const WAITING: usize = 65_536;

/// A file that flows are written to as they end.
pub(super) struct Recording {
    path: PathBuf,
    /// None once it took no more.
    file: Option<BufWriter<File>>,
    records: Subscription,
}

impl Recording {
    /// From now on, in a new file or in place of what the file held.
    pub(super) fn start(path: &Path, flows: &FlowLog) -> anyhow::Result<Self> {
        let file = File::create(path)
            .with_context(|| format!("cannot record flows in {}", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            file: Some(BufWriter::new(file)),
            records: flows.subscribe(),
        })
    }

    /// Writes what ends, until dropped.
    pub(super) async fn follow(&mut self) {
        while let Some(record) = self.records.next().await {
            self.note(&record);
        }
    }

    /// Writes what is left: what has ended since, and what never did.
    pub(super) fn finish(mut self, flows: &FlowLog) {
        while let Some(record) = self.records.try_next() {
            self.note(&record);
        }
        for record in flows.records().iter().filter(|flow| flow.ended.is_none()) {
            self.write(record);
        }
        self.with_file(Write::flush);
        match self.records.take_missed() {
            0 => {}
            missed => terminal::complain(&format!(
                "{}: up to {missed} flows are missing: they ended faster than they could be written",
                self.path.display()
            )),
        }
    }

    /// Flows are told of when they are let through, too.
    fn note(&mut self, record: &Arc<FlowRecord>) {
        if record.ended.is_some() {
            self.write(record);
        }
    }

    fn write(&mut self, record: &FlowRecord) {
        self.with_file(|file| {
            serde_json::to_writer(&mut *file, record)?;
            file.write_all(b"\n")
        });
    }

    fn with_file(&mut self, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) {
        if let Some(file) = &mut self.file
            && let Err(error) = write(file)
        {
            self.file = None;
            terminal::complain(&format!(
                "{}: {error}; the flows from here on are missing",
                self.path.display()
            ));
        }
    }
}
