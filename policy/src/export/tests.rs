use insta::assert_snapshot;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

fn exported(format: Format, rules: &str) -> String {
    match write(format, "rules.toml", rules, Options::default()) {
        Ok(export) => {
            let files = export
                .files
                .iter()
                .map(|file| format!("-- {}\n{}", file.name, file.text));
            format!("{}-- report\n{}", files.collect::<String>(), export.report)
        }
        Err(refusal) => format!(
            "{refusal} ({})",
            refusal.hint.as_deref().unwrap_or_default()
        ),
    }
}

const RULES: &str = r#"
[[rule]]
name = "web for curl"
app = "/usr/bin/curl"
to = [".example.com", "192.0.2.0/24"]
port = "tcp/443"
action = "allow"

[[rule]]
name = "ads"
to = ["ads.example.net", ".ads.example.org"]
action = "block"

[[rule]]
name = "a unit"
app = { unit = "x.service" }
action = "block"

[[rule]]
name = "all for wget"
app = "/usr/bin/wget"
action = "allow"
"#;

#[test]
fn what_survives_is_written_and_the_rest_is_said() {
    assert_snapshot!("opensnitch", exported(Format::OpenSnitch, RULES));
    assert_snapshot!("little_snitch", exported(Format::LittleSnitch, RULES));
    assert_snapshot!("lulu", exported(Format::Lulu, RULES));
    assert_snapshot!("portmaster", exported(Format::Portmaster, RULES));
    assert_snapshot!("sing_box", exported(Format::SingBox, RULES));
    assert_snapshot!("clash", exported(Format::Clash, RULES));
    assert_snapshot!("list", exported(Format::List, RULES));
}

#[test]
fn an_order_that_would_change_is_refused() {
    let rules = "[[rule]]\nto = \"192.0.2.0/24\"\naction = \"allow\"\n[[rule]]\nto = \"192.0.2.7-192.0.2.9\"\naction = \"block\"\n";
    assert!(exported(Format::LittleSnitch, rules).contains("taken together"));
    assert!(
        exported(
            Format::Portmaster,
            &rules.replace("192.0.2.7-192.0.2.9", "192.0.2.7")
        )
        .contains("2 accepted")
    );
}

#[test]
fn a_file_with_an_error_is_not_exported() {
    let said = exported(
        Format::Clash,
        "[[rule]]\nto = \"x y\"\naction = \"block\"\n",
    );
    assert!(said.starts_with("rules.toml:2:6: error:"), "{said}");
}

fn rules() -> impl Strategy<Value = String> {
    let app = select(vec![
        "",
        "app = \"/usr/bin/curl\"\n",
        "app = { uid = [0, 7] }\n",
        "app = { name = \"x*\" }\n",
        "app = { path = \"/a\", parent = \"/b\" }\n",
    ]);
    let to = select(vec![
        "",
        "to = \"example.com\"\n",
        "to = [\".example.com\", \"*.example.org\"]\n",
        "to = \"192.0.2.0/24\"\n",
        "to = [\"192.0.2.1-192.0.2.9\", \"2001:db8::7\"]\n",
        "to = \"country:DE\"\n",
        "to = { not = \"lan\" }\n",
        "to = \"/^ads/\"\n",
        "to = \"*ads*\"\n",
    ]);
    let port = select(vec![
        "",
        "port = \"443\"\n",
        "port = [\"tcp/1-9\", \"udp/53\"]\n",
        "port = \"icmp\"\n",
        "port = \"ip/47\"\n",
        "port = \"*\"\n",
    ]);
    let direction = select(vec!["", "", "", "direction = \"in\"\n"]);
    let action = select(vec!["allow", "block", "drop"]);
    let rule = (app, to, port, direction, action).prop_map(|(app, to, port, direction, action)| {
        format!("[[rule]]\n{app}{to}{port}{direction}action = \"{action}\"\n")
    });
    prop::collection::vec(rule, 1..5).prop_map(|rules| rules.concat())
}

proptest! {
    /// What the other program says of what was exported is what we say: read back, it is the same rules in an order that
    /// means the same.
    #[test]
    fn what_is_exported_comes_back(rules in rules(), format in select(&Format::ALL[..])) {
        let Ok(export) = write(format, "rules.toml", &rules, Options::default()) else {
            return Ok(());
        };
        prop_assert_eq!(export.report.read, export.report.accepted + export.report.refused);
        if export.report.accepted == 0 {
            return Ok(());
        }
        let files: Vec<_> = export.files.iter().map(|file| File { name: &file.name, bytes: file.text.as_bytes() }).collect();
        let import = import::read(format, &files, Options::default()).unwrap();
        prop_assert_eq!(import.report.refused, 0);
        prop_assert_eq!(import.report.narrowed, 0);
        // Once more gives the same files.
        let again = write(format, "again.toml", &import.text, Options::default()).unwrap();
        prop_assert_eq!(again.report.refused, 0, "{}\n{}", import.text, again.report);
        let rules_of = |import: &import::Import| {
            let mut atoms: Vec<Draft> = import.drafts.iter().flat_map(|draft| atoms::of(draft).unwrap()).collect();
            atoms.iter_mut().for_each(|atom| atom.name.clear());
            atoms
        };
        let files: Vec<_> = again.files.iter().map(|file| File { name: &file.name, bytes: file.text.as_bytes() }).collect();
        let back = import::read(format, &files, Options::default()).unwrap();
        prop_assert_eq!(rules_of(&back), rules_of(&import));
    }
}
