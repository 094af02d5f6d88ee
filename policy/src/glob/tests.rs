use proptest::prelude::*;
use proptest::sample::select;

use super::*;

fn matches(pattern: &str, text: &str) -> bool {
    Glob::new(pattern).unwrap().matches(text.as_bytes())
}

#[test]
fn a_star_stays_within_its_folder() {
    assert!(matches("/usr/share/code/*", "/usr/share/code/code"));
    assert!(!matches("/usr/share/code/*", "/usr/share/code/bin/code"));
    assert!(!matches("/usr/share/code/*", "/usr/share/code"));
    assert!(matches("/usr/*/code/*", "/usr/share/code/code"));
    assert!(matches("/usr/bin/python3*", "/usr/bin/python3"));
    assert!(matches("*.service", "ssh.service"));
}

#[test]
fn two_stars_cross_folders() {
    assert!(matches("/usr/**", "/usr/share/code/code"));
    assert!(!matches("/usr/**", "/usr"));
    assert!(!matches("/usr/**", "/usrlocal/x"));
    assert!(matches("**/curl", "/usr/bin/curl"));
    assert!(matches("**/curl", "curl"));
    assert!(matches("/opt/**/bin/*", "/opt/bin/x"));
    assert!(matches("/opt/**/bin/*", "/opt/a/bin/b/bin/x"));
    assert!(!matches("/opt/**/bin/*", "/opt/a/bin/b/x"));
}

#[test]
fn characters_classes_and_braces() {
    assert!(matches("/x/?", "/x/é"));
    assert!(!matches("/x/?", "/x/ab"));
    assert!(matches("/x/[a-c]", "/x/b"));
    assert!(!matches("/x/[!a-c]", "/x/b"));
    assert!(matches("/x/[]-]", "/x/]"));
    assert!(matches("/x/[a-]", "/x/-"));
    assert!(matches("/x/[[]", "/x/["));
    assert!(matches("/{usr,opt}/b{in,{a,o}r}", "/opt/bor"));
    assert!(!matches("/{usr,opt}/b{in,{a,o}r}", "/opt/ba"));
    assert!(matches("/x/[{]", "/x/{"));
}

#[test]
fn bytes_that_are_no_text_match_as_one_character_each() {
    let glob = Glob::new("/x/a?b*").unwrap();
    assert!(glob.matches(b"/x/a\xffb"));
    assert!(glob.matches(b"/x/a\xffb\xff\xfe"));
    assert!(!glob.matches(b"/x/a\xff\xffb"));
}

#[test]
fn what_is_not_closed_is_refused() {
    for (pattern, message) in [
        ("/x/[a", "`[` without `]`"),
        ("/x/{a,b", "`{` without `}`"),
        ("/x/a}", "`}` without `{`"),
        ("/x/[z-a]", "the range z-a runs backwards"),
        (
            "{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}",
            "the braces stand for more than 64 patterns",
        ),
    ] {
        assert_eq!(
            Glob::new(pattern).unwrap_err().message,
            message,
            "{pattern}"
        );
    }
}

#[test]
fn a_pattern_is_found_by_its_folder_or_its_last_component() {
    let landmark = |pattern: &str| Glob::new(pattern).unwrap().landmarks().next();
    assert_eq!(
        landmark("/usr/bin/*"),
        Some(Landmark::Beneath((*b"/usr/bin").into()))
    );
    assert_eq!(
        landmark("/usr/**/x"),
        Some(Landmark::Beneath((*b"/usr").into()))
    );
    assert_eq!(landmark("**/curl"), Some(Landmark::Last((*b"curl").into())));
    assert_eq!(landmark("/*/curl"), Some(Landmark::Last((*b"curl").into())));
    assert_eq!(landmark("/*"), Some(Landmark::Beneath((*b"").into())));
    assert_eq!(landmark("**"), Some(Landmark::None));
    assert_eq!(landmark("*.service"), Some(Landmark::None));
    assert_eq!(
        landmark("/usr/{bin}/x"),
        Some(Landmark::Whole((*b"/usr/bin/x").into()))
    );
}

#[test]
fn a_hostile_pattern_costs_little() {
    let pattern = format!("/{}b", "a*".repeat(200));
    let text = format!("/{}", "a".repeat(4000));
    assert!(!matches(&pattern, &text));
    let deep = format!("{}/b", "/**/a".repeat(100));
    assert!(!matches(&deep, &"/a".repeat(2000)));
}

fn pattern() -> impl Strategy<Value = String> {
    let part = || {
        select(vec![
            "a", "b", "ab", "*", "?", "a*", "*b", "a*b*", "[ab]", "[!a]", "{a,b*}", "[a-b]c", "a?",
        ])
        .prop_map(str::to_owned)
    };
    let step = prop_oneof![4 => part(), 1 => (part(), part()).prop_map(|(a, b)| a + &b), 1 => Just("**".to_owned())];
    (any::<bool>(), proptest::collection::vec(step, 1..6)).prop_map(|(absolute, steps)| {
        format!("{}{}", if absolute { "/" } else { "" }, steps.join("/"))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    // In `globset` a negated class matches `/` unless told otherwise, and single bytes beyond ASCII.
    fn globs_mean_what_they_mean_elsewhere(
        pattern in pattern(),
        absolute: bool,
        parts in proptest::collection::vec(select(vec!["a", "b", "ab", "ba", "aab", "bc", "c"]), 1..6),
    ) {
        let text = format!("{}{}", if absolute { "/" } else { "" }, parts.join("/"));
        let reference =
            globset::GlobBuilder::new(&pattern.replace("[!a]", "[!a/]")).literal_separator(true).build().unwrap().compile_matcher();
        prop_assert_eq!(matches(&pattern, &text), reference.is_match(&text), "{} {}", pattern, text);
    }

    #[test]
    fn what_matches_has_a_landmark_of_the_pattern(
        pattern in pattern(),
        absolute: bool,
        parts in proptest::collection::vec(select(vec!["a", "b", "ab"]), 1..5),
    ) {
        let text = format!("{}{}", if absolute { "/" } else { "" }, parts.join("/"));
        let has = |landmark| match landmark {
            Landmark::Whole(whole) => *whole == *text.as_bytes(),
            Landmark::Beneath(folder) => {
                text.as_bytes().strip_prefix(&*folder).is_some_and(|rest| rest.starts_with(b"/"))
            }
            Landmark::Last(last) => *last == *parts[parts.len() - 1].as_bytes(),
            Landmark::None => true,
        };
        let glob = Glob::new(&pattern).unwrap();
        if glob.matches(text.as_bytes()) {
            prop_assert!(glob.landmarks().any(has), "{} {}", pattern, text);
        }
    }

    #[test]
    fn no_text_makes_the_compiler_panic(pattern: String, text: Vec<u8>) {
        if let Ok(glob) = Glob::new(&pattern) {
            glob.matches(&text);
        }
    }
}
