use std::fs;
use std::io::Write;
use std::net::IpAddr;

use tidegate_policy::list::compiled::Context;
use tidegate_policy::{Document, Fact, Name, PolicySource};

use super::*;
use crate::test_folder::TestFolder;

/// The lists of a configuration in which `DIR` stands for the folder.
fn definitions(folder: &TestFolder, text: &str) -> Vec<ListDefinition> {
    let text = text.replace("DIR", &folder.path().display().to_string());
    let document = Document::parse("t.toml", &text).unwrap();
    let mut source = PolicySource::default();
    source.read_main(&document);
    assert_eq!((document.finish(), source.review()), (vec![], vec![]));
    source.lists
}

fn library(folder: &TestFolder) -> Library {
    Library::new(Some(folder.path().join("state")))
}

fn refresh(library: &Library, lists: &[ListDefinition]) -> LibraryState {
    library.refresh(lists, &Geo::default());
    library.state()
}

/// The names of the lists that have this address.
fn having(library: &Library, address: &str) -> Vec<String> {
    let Some(lists) = library.lists() else {
        return Vec::new();
    };
    let answer = lists.address(address.parse().unwrap(), &Context::default());
    let infos = answer
        .lists()
        .iter()
        .filter_map(|list| lists.info(list))
        .collect::<Vec<_>>();
    infos.iter().map(|info| info.name.clone()).collect()
}

fn problems(state: &LibraryState, folder: &TestFolder) -> Vec<String> {
    state
        .problems()
        .map(|problem| folder.anonymous(&problem))
        .collect()
}

const ONE: &str = "[[list]]\nname = \"one\"\nsource = \"DIR/one.txt\"\n";

#[test]
fn a_file_is_read_compiled_and_found_again_by_the_next_start() {
    let folder = TestFolder::new();
    folder.write("one.txt", "192.0.2.0/24\n192.0.2.0/99\n");
    folder.write("two.txt", "ads.example\n");
    let two = "[[list]]\nname = \"two\"\nsource = \"DIR/two.txt\"\nmatch = \"subdomains\"\n";
    let lists = definitions(&folder, &[ONE, two].concat());
    let first = library(&folder);
    let state = refresh(&first, &lists);
    assert_eq!(problems(&state, &folder), [""; 0]);
    assert_eq!((state.lists[0].entries, state.lists[0].ignored), (1, 1));
    assert!(
        state
            .lists
            .iter()
            .all(|list| list.loaded && list.fetched.is_some())
    );
    assert!(state.bytes > 0);
    assert_eq!(having(&first, "192.0.2.200"), ["one"]);
    let name = Name::parse("x.ads.example").unwrap();
    let compiled = first.lists().unwrap();
    assert_eq!(
        compiled
            .name(&name, &Context::default())
            .lists()
            .iter()
            .count(),
        1
    );

    let made = || -> Vec<String> {
        let names = fs::read_dir(folder.path().join("state/lists")).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name.starts_with("compiled-")).collect();
        names.sort();
        names
    };
    let before = made();
    assert_eq!(before.len(), 1);
    // The sources are gone: what was kept is enough.
    fs::remove_file(folder.path().join("one.txt")).unwrap();
    let second = library(&folder);
    let state = refresh(&second, &lists);
    assert_eq!(made(), before, "nothing was compiled again");
    assert_eq!(having(&second, "192.0.2.200"), ["one"]);
    assert_eq!(
        problems(&state, &folder),
        [
            "list one: cannot read DIR/one.txt: No such file or directory (os error 2); the last good text stays in force"
        ]
    );
    assert_eq!(state.lists[0].entries, 1);
}

#[test]
fn a_changed_file_counts_at_once_and_the_older_files_are_removed() {
    let folder = TestFolder::new();
    folder.write("one.txt", "192.0.2.1\n");
    let lists = definitions(&folder, ONE);
    let library = library(&folder);
    refresh(&library, &lists);
    folder.write("one.txt", "192.0.2.2\n192.0.2.3\n");
    let state = refresh(&library, &lists);
    assert_eq!(state.lists[0].entries, 2);
    assert_eq!(having(&library, "192.0.2.1"), [""; 0]);
    assert_eq!(having(&library, "192.0.2.3"), ["one"]);
    let count = |path: &str| fs::read_dir(folder.path().join(path)).unwrap().count();
    assert_eq!(
        count("state/lists/texts"),
        2,
        "the text, and the note about it"
    );
    assert_eq!(
        count("state/lists"),
        3,
        "texts, the compiled file, and the note about it"
    );
}

#[test]
fn whatever_is_bad_about_a_text_changes_nothing_but_a_message() {
    let folder = TestFolder::new();
    folder.write("one.txt", "192.0.2.1\n");
    let text = format!("{ONE}max_mib = 1\n");
    let lists = definitions(&folder, &text);
    let library = library(&folder);
    refresh(&library, &lists);
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..(2 << 20) / 16 {
        bomb.write_all(b"198.51.100.0/24\n").unwrap();
    }
    let bomb = bomb.finish().unwrap();
    assert!(bomb.len() < 1 << 20);
    let binary: Vec<u8> = (0..100_000_u32)
        .map(|number| number.to_le_bytes()[1] | 0x80)
        .collect();
    let enormous = "203.0.113.0/24\n".repeat(100_000);
    let page = "<!doctype html>\n<p>Log in to this network</p>\n";
    let cases: [(&[u8], &str); 6] = [
        (&binary, "nothing in it is an entry of a list"),
        (enormous.as_bytes(), "has more than 1 MiB"),
        (&bomb, "has more than 1 MiB"),
        (&bomb[..bomb.len() / 2], "cannot read"),
        (page.as_bytes(), "nothing in it is an entry of a list"),
        (&[0x1f, 0x8b, 8, 0, 0xff], "cannot read"),
    ];
    for (bytes, message) in cases {
        folder.write("one.txt", bytes);
        let state = refresh(&library, &lists);
        let problem = state.lists[0].problem.clone().unwrap_or_default();
        assert!(problem.contains(message), "{problem:?} lacks {message:?}");
        assert!(state.lists[0].loaded);
        assert_eq!(having(&library, "192.0.2.1"), ["one"], "{message}");
        assert_eq!(having(&library, "198.51.100.1"), [""; 0]);
    }
    // A pipe has no end.
    fs::remove_file(folder.path().join("one.txt")).unwrap();
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        folder.path().join("one.txt"),
        rustix::fs::Mode::RUSR,
    )
    .unwrap();
    let state = refresh(&library, &lists);
    assert!(
        problems(&state, &folder)[0].contains("no regular file"),
        "{state:?}"
    );
    fs::remove_file(folder.path().join("one.txt")).unwrap();
    folder.write("one.txt", "192.0.2.9\n");
    assert_eq!(refresh(&library, &lists).problems().count(), 0);
    assert_eq!(having(&library, "192.0.2.9"), ["one"]);
}

#[test]
fn a_pinned_text_is_taken_or_none() {
    let folder = TestFolder::new();
    folder.write("one.txt", "192.0.2.1\n");
    let lists = definitions(&folder, ONE);
    let library = library(&folder);
    refresh(&library, &lists);
    let note = fs::read_to_string(folder.path().join("state/lists/texts/list-one.json")).unwrap();
    let note: serde_json::Value = serde_json::from_str(&note).unwrap();
    let right = note["sha256"].as_str().unwrap();
    let pinned = |sha256: &str| definitions(&folder, &format!("{ONE}sha256 = \"{sha256}\"\n"));
    assert_eq!(refresh(&library, &pinned(right)).problems().count(), 0);
    let state = refresh(&library, &pinned(&"0".repeat(64)));
    assert!(
        problems(&state, &folder)[0].contains("its SHA-256 is"),
        "{state:?}"
    );
    assert!(
        !state.lists[0].loaded,
        "what is not the text that was meant is not used"
    );
    assert_eq!(having(&library, "192.0.2.1"), [""; 0]);
}

#[test]
fn compiled_files_that_are_damaged_are_made_again() {
    let folder = TestFolder::new();
    folder.write("one.txt", "192.0.2.1\n");
    let lists = definitions(&folder, ONE);
    refresh(&library(&folder), &lists);
    let state = folder.path().join("state/lists");
    let compiled = |state: &std::path::Path| {
        let mut entries = fs::read_dir(state)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        entries
            .find(|path| {
                path.file_name()
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .starts_with("compiled-")
            })
            .unwrap()
    };
    type Damage<'d> = &'d dyn Fn(&[u8]) -> Vec<u8>;
    let damages: [Damage<'_>; 3] = [
        &|bytes| bytes[..bytes.len() / 2].to_vec(),
        &|bytes| bytes.iter().map(|byte| byte ^ 1).collect(),
        &|_| Vec::new(),
    ];
    for damage in damages {
        let path = compiled(&state);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, damage(&bytes)).unwrap();
        let library = library(&folder);
        assert_eq!(refresh(&library, &lists).problems().count(), 0);
        assert_eq!(having(&library, "192.0.2.1"), ["one"]);
    }
    folder.write(
        "state/lists/compiled.json",
        "{\"version\":1,\"file\":\"../../one.txt\",\"lists\":{}}",
    );
    assert_eq!(refresh(&library(&folder), &lists).problems().count(), 0);
}

#[test]
fn without_a_folder_there_are_no_lists_and_that_is_said() {
    let folder = TestFolder::new();
    folder.write("one.txt", "192.0.2.1\n");
    let library = Library::new(None);
    let state = refresh(&library, &definitions(&folder, ONE));
    assert!(
        problems(&state, &folder)[0].contains("STATE_DIRECTORY"),
        "{state:?}"
    );
    assert_eq!(having(&library, "192.0.2.1"), [""; 0]);
}

#[test]
fn a_database_that_is_missing_or_none_is_said_and_nothing_is_known_by_it() {
    let folder = TestFolder::new();
    let library = library(&folder);
    let file = folder.write("places.mmdb", "no database");
    let geo = Geo {
        country: Some(file),
        asn: Some(folder.path().join("missing.mmdb")),
    };
    library.refresh(&[], &geo);
    let state = library.state();
    assert_eq!(
        problems(&state, &folder),
        [
            "database DIR/places.mmdb: this is no MMDB file, or a damaged one: fetch it again; rules on what it would know match nothing",
            "database DIR/missing.mmdb: No such file or directory (os error 2); rules on what it would know match nothing",
        ]
    );
    let address: IpAddr = "192.0.2.1".parse().unwrap();
    assert_eq!(library.places().of(address).country, Fact::Unknown);
}
