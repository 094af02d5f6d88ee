//! Lists on disk: their texts, and the one file that they are compiled to.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidegate_platform::mapped_file::{MappedFile, open_regular};
use tidegate_platform::random;
use tidegate_policy::list::compiled::{
    BuildError, Builder, Cancels, Compiled, ListInfo, OpenError,
};
use tidegate_policy::list::parse::Report;
use tidegate_policy::list::suffixes::{PublicSuffixes, SuffixList, TopLevel};
use tidegate_policy::list::{ListDefinition, ListSource};

use super::folder;
use super::text::{Note, Texts, shown};
use super::{ListState, Lists};

/// Where systems keep the public suffixes.
const SUFFIXES: &str = "/usr/share/publicsuffix/public_suffix_list.dat";
const LARGEST_SUFFIXES: u64 = 4 << 20;
/// Counts up when the same lists would be compiled to something else.
const RECIPE: u32 = 1;

/// The lists that are kept in one folder.
#[derive(Debug)]
pub(super) struct Store {
    folder: PathBuf,
    pub(super) texts: Texts,
}

/// A compiled file that is loaded.
#[derive(Clone, Debug)]
pub(super) struct Loaded {
    /// Its name: another name, other lists.
    pub(super) file: String,
    pub(super) lists: Arc<Lists>,
}

/// What the compiled file was made of.
#[derive(Debug, Serialize, Deserialize)]
struct Made {
    version: u32,
    file: String,
    lists: BTreeMap<String, Ingredient>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Ingredient {
    sha256: String,
    /// All that decides how the text is read.
    read_as: String,
    entries: usize,
    ignored: usize,
    report: String,
}

/// Why lists were not compiled.
#[derive(Debug, thiserror::Error)]
enum CompileError {
    #[error("the text that was kept cannot be read: {0}")]
    Text(#[source] io::Error),
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error("the compiled lists cannot be kept: {0}")]
    Keep(#[from] io::Error),
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl Store {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self {
            texts: Texts::new(folder.join("texts")),
            folder,
        }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The lists as they can be had without a network, and how each is. Where they cannot be compiled, `before` stays.
    pub(super) fn prepare(
        &self,
        lists: &[ListDefinition],
        before: Option<Loaded>,
    ) -> (Option<Loaded>, Vec<ListState>) {
        let mut texts = Vec::new();
        for list in lists {
            let kept =
                |error: &dyn std::fmt::Display| (self.texts.note(list), Some(error.to_string()));
            texts.push(match &list.source {
                ListSource::File(path) => match self.texts.take_file(list, path) {
                    Ok(note) => (Some(note), None),
                    Err(error) => kept(&error),
                },
                ListSource::Url(_) => (self.texts.note(list), None),
            });
        }
        let notes: Vec<(&ListDefinition, &Note)> = lists
            .iter()
            .zip(&texts)
            .filter_map(|(list, (note, _))| Some((list, note.as_ref()?)))
            .collect();
        let (compiled, made, failure) = match self.compiled(&notes, before.as_ref()) {
            Ok((loaded, made)) => (Some(loaded), Some(made), None),
            Err(error) => (before, None, Some(error.to_string())),
        };
        let states = lists.iter().zip(texts).map(|(list, (note, problem))| {
            let ingredient = made.as_ref().and_then(|made| made.lists.get(&*list.name));
            let in_file = |loaded: &Loaded| {
                loaded
                    .lists
                    .lists()
                    .any(|(_, info)| info.name == *list.name)
            };
            ListState {
                loaded: compiled.as_ref().is_some_and(in_file),
                entries: ingredient.map_or(0, |ingredient| ingredient.entries),
                ignored: ingredient.map_or(0, |ingredient| ingredient.ignored),
                report: ingredient.map(|ingredient| ingredient.report.clone()),
                fetched: note.map(|note| note.fetched),
                problem: problem.or(failure.clone()),
                ..empty_state(list)
            }
        });
        let states = states.collect();
        (compiled, states)
    }

    /// The compiled file of these texts, made anew unless it is there.
    fn compiled(
        &self,
        notes: &[(&ListDefinition, &Note)],
        before: Option<&Loaded>,
    ) -> Result<(Loaded, Made), CompileError> {
        if let Some(made) = self.made().filter(|made| made.is_of(notes)) {
            if let Some(before) = before.filter(|before| before.file == made.file) {
                return Ok((before.clone(), made));
            }
            let opened = MappedFile::open(&self.folder.join(&made.file)).ok();
            match opened.map(Compiled::open) {
                Some(Ok(lists)) => return Ok((Loaded::new(&made.file, lists), made)),
                Some(Err(error)) => tracing::warn!("{error}: they are compiled again"),
                None => {}
            }
        }
        self.compile(notes)
    }

    fn made(&self) -> Option<Made> {
        let made: Made = folder::read_note(&self.folder.join("compiled.json"))?;
        let plain = !made.file.contains('/') && made.file.starts_with("compiled-");
        (made.version == RECIPE && plain).then_some(made)
    }

    fn compile(&self, notes: &[(&ListDefinition, &Note)]) -> Result<(Loaded, Made), CompileError> {
        folder::make(&self.folder)?;
        let seed = random::seed()?;
        let suffixes = public_suffixes();
        let mut builder = Builder::new(seed);
        let mut lists = BTreeMap::new();
        for (list, note) in notes {
            let own = builder.list(ListInfo {
                name: list.name.to_string(),
                categories: list.categories.iter().map(ToString::to_string).collect(),
                // A list that is fetched has no say about others.
                cancels: match list.source {
                    ListSource::File(_) => Cancels::All,
                    ListSource::Url(_) => Cancels::Own,
                },
            })?;
            let mut sink = |entry| builder.add(own, entry);
            let report = self.texts.read(list, note, &*suffixes, &mut sink);
            let report = report.map_err(CompileError::Text)?;
            lists.insert(list.name.to_string(), Ingredient::new(list, note, &report));
        }
        let bytes = builder.finish()?;
        let file = format!("compiled-{seed:016x}");
        folder::write(&self.folder.join(&file), &bytes)?;
        drop(bytes);
        let opened = Compiled::open(MappedFile::open(&self.folder.join(&file))?)?;
        let made = Made {
            version: RECIPE,
            file,
            lists,
        };
        folder::write_note(&self.folder.join("compiled.json"), &made)?;
        folder::remove_others(&self.folder, "compiled-", &made.file);
        Ok((Loaded::new(&made.file, opened), made))
    }
}

impl Loaded {
    fn new(file: &str, lists: Lists) -> Self {
        Self {
            file: file.to_owned(),
            lists: Arc::new(lists),
        }
    }
}

impl Made {
    fn is_of(&self, notes: &[(&ListDefinition, &Note)]) -> bool {
        let same = |(list, note): &(&ListDefinition, &Note)| {
            let ingredient = self.lists.get(&*list.name);
            ingredient.is_some_and(|own| own.sha256 == note.sha256 && own.read_as == read_as(list))
        };
        self.lists.len() == notes.len() && notes.iter().all(same)
    }
}

impl Ingredient {
    fn new(list: &ListDefinition, note: &Note, report: &Report) -> Self {
        Self {
            sha256: note.sha256.clone(),
            read_as: read_as(list),
            entries: report.accepted,
            ignored: report.ignored().map(|(_, ignored)| ignored.count).sum(),
            report: report.to_string(),
        }
    }
}

fn read_as(list: &ListDefinition) -> String {
    let is_file = matches!(list.source, ListSource::File(_));
    format!(
        "{:?} {:?} {:?} {:?} {} {is_file}",
        list.format,
        list.bare,
        list.effect(),
        list.categories,
        list.most_bytes
    )
}

/// Lists for whom there is no folder to keep them in.
pub(super) fn without_folder(lists: &[ListDefinition]) -> Vec<ListState> {
    let problem = "there is no folder to keep lists in: set HOME or STATE_DIRECTORY";
    let states = lists.iter().map(|list| ListState {
        problem: Some(problem.to_owned()),
        ..empty_state(list)
    });
    states.collect()
}

fn empty_state(list: &ListDefinition) -> ListState {
    ListState {
        name: list.name.to_string(),
        source: shown(&list.source),
        action: list.action,
        loaded: false,
        entries: 0,
        ignored: 0,
        report: None,
        fetched: None,
        doing: None,
        problem: None,
    }
}

/// The host's, where it has them.
fn public_suffixes() -> Box<dyn PublicSuffixes> {
    let read = || {
        let file = open_regular(Path::new(SUFFIXES)).ok()?;
        let mut text = String::new();
        let mut file = io::Read::take(file, LARGEST_SUFFIXES);
        io::Read::read_to_string(&mut file, &mut text).ok()?;
        Some(SuffixList::parse(&text))
    };
    match read() {
        Some(list) => Box::new(list),
        None => Box::new(TopLevel),
    }
}
