//! The text of the file: a rule on top, and the newest ones away again. Whatever else stands there stays.

use tidegate_policy::Document;

use super::request::RequestError;

/// Most rules of this kind: each is tried before all others.
const MOST: usize = 1_000;

/// What the file begins with when it is made.
const HEAD: &str = "\
# Made by `tidegate block` and `tidegate allow`: tried before all other rules, the newest first.
# `tidegate undo` takes the newest away. Edit it as any other file of rules.
";

/// The file cannot be changed as wished.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// Somebody wrote what is no TOML.
    #[error("{0}\nmend or remove this file first")]
    Unreadable(String),
    /// There are too many.
    #[error(
        "there are {MOST} such rules already: take some away with `tidegate undo`, or write rules into a file of rules.d"
    )]
    Full,
    /// The words do not make a rule.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// There is nothing to take away.
    #[error("there is nothing to undo")]
    Empty,
}

/// The text with one rule more, ahead of those that it has.
///
/// # Errors
/// The text is no TOML, or has its most rules.
pub fn with(text: &str, rule: &str) -> Result<String, EditError> {
    let starts = starts(text)?;
    if starts.len() >= MOST {
        return Err(EditError::Full);
    }
    if text.is_empty() {
        return Ok(format!("{HEAD}\n{rule}"));
    }
    let at = starts.first().copied().unwrap_or(text.len());
    let (head, rest) = text.split_at(at);
    let gap = if head.is_empty() || head.ends_with("\n\n") {
        ""
    } else if head.ends_with('\n') {
        "\n"
    } else {
        "\n\n"
    };
    let separator = if rest.is_empty() { "" } else { "\n" };
    Ok(format!("{head}{gap}{rule}{separator}{rest}"))
}

/// The text without its newest rules, `count` of them or all that there are, and what these were called.
///
/// # Errors
/// The text is no TOML, or has no rules.
pub fn without_newest(text: &str, count: usize) -> Result<(String, Vec<String>), EditError> {
    let starts = starts(text)?;
    let (Some(first), count) = (starts.first().copied(), count.min(starts.len())) else {
        return Err(EditError::Empty);
    };
    let end = starts.get(count).copied().unwrap_or(text.len());
    let names = names(text)?.into_iter().take(count).collect();
    Ok((format!("{}{}", &text[..first], &text[end..]), names))
}

fn parsed(text: &str) -> Result<Document, EditError> {
    Document::parse(super::FILE, text).map_err(|problems| {
        let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
        EditError::Unreadable(lines.join("\n"))
    })
}

/// What the rules are called, in their order.
fn names(text: &str) -> Result<Vec<String>, EditError> {
    let document = parsed(text)?;
    let rules = document.root().sections("rule");
    Ok(rules
        .iter()
        .map(|rule| {
            rule.string("name")
                .unwrap_or_else(|| rule.origin().to_string())
        })
        .collect())
}

/// Where each rule begins, in bytes: at its table, or at the comment that stands directly before it.
fn starts(text: &str) -> Result<Vec<usize>, EditError> {
    let document = parsed(text)?;
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let offset = |line: usize| lines.iter().take(line).map(|line| line.len()).sum();
    let rules = document.root().sections("rule");
    let first_lines = rules
        .iter()
        .map(|rule| rule.origin().line.saturating_sub(1));
    Ok(first_lines
        .map(|line| {
            let comments = lines[..line]
                .iter()
                .rev()
                .take_while(|line| line.trim_start().starts_with('#'))
                .count();
            // What stands at the very top is the file's own.
            offset(if comments < line {
                line - comments
            } else {
                line
            })
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str) -> String {
        format!("[[rule]]\nname = \"{name}\"\naction = \"block\"\n")
    }

    #[test]
    fn the_newest_rule_stands_first_and_is_the_first_to_go() {
        let one = with("", &rule("one")).unwrap();
        let two = with(&one, &rule("two")).unwrap();
        let three = with(&two, &rule("three")).unwrap();
        assert_eq!(names(&three).unwrap(), ["three", "two", "one"]);
        assert!(three.starts_with(HEAD));
        let (back, gone) = without_newest(&three, 1).unwrap();
        assert_eq!((back, gone), (two, vec!["three".to_owned()]));
        let (none, gone) = without_newest(&three, 9).unwrap();
        assert_eq!(gone, ["three", "two", "one"]);
        assert_eq!(without_newest(&none, 1), Err(EditError::Empty));
        assert_eq!(
            names(&with(&none, &rule("four")).unwrap()).unwrap(),
            ["four"]
        );
    }

    #[test]
    fn what_people_wrote_beside_stays() {
        let text = "# mine\n\n[[set]]\nname = \"a\"\nto = \"lan\"\n\n# why\n[[rule]]\nname = \"old\"\naction = \"allow\"\n";
        let more = with(text, &rule("new")).unwrap();
        assert_eq!(names(&more).unwrap(), ["new", "old"]);
        assert!(more.contains("# why\n[[rule]]\nname = \"old\""), "{more}");
        let (less, gone) = without_newest(&more, 1).unwrap();
        assert_eq!(gone, ["new"]);
        assert_eq!(less, text);
    }

    #[test]
    fn what_is_no_toml_is_left_as_it_is() {
        let wrong = with("[[rule", &rule("new")).unwrap_err().to_string();
        assert!(wrong.contains("quick.toml:1"), "{wrong}");
        assert!(matches!(
            without_newest("= 1", 1),
            Err(EditError::Unreadable(_))
        ));
    }

    #[test]
    fn there_is_an_end_to_it() {
        let full = rule("x").repeat(MOST);
        assert_eq!(with(&full, &rule("new")), Err(EditError::Full));
    }
}
