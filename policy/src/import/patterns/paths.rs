//! Regular expressions over paths as wildcards.

use super::{folded_character, literal};

/// Alternatives that a path's expression may stand for.
const MOST_ALTERNATIVES: usize = 64;

/// What a path's expression stands for.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::import) struct PathPatterns {
    /// As patterns.
    pub(in crate::import) patterns: Vec<String>,
    /// Whether the patterns stand for less, or more, than the expression.
    pub(in crate::import) exact: bool,
}

/// A path's expression for a rule that allows: patterns that stand for no more.
pub(in crate::import) fn within_path_regex(pattern: &str) -> Result<PathPatterns, String> {
    let (steps, end) = path_steps(pattern)?;
    if end != steps.len() {
        return Err(format!(
            "the expression \"{pattern}\" cannot be said with wildcards"
        ));
    }
    let mut exact = true;
    let mut text = vec![String::new()];
    let last = steps.len().saturating_sub(1);
    for (at, step) in steps.iter().enumerate() {
        let parts = match step {
            Step::Characters(choices) => choices.iter().map(|choice| literal(choice)).collect(),
            Step::Rest if at == last => vec!["*".to_owned(), "*/**".to_owned()],
            Step::Rest | Step::NoSlash => {
                exact &= *step == Step::NoSlash;
                vec!["*".to_owned()]
            }
            Step::One => {
                exact = false;
                vec!["?".to_owned()]
            }
        };
        text = product(&text, &parts)?;
    }
    Ok(PathPatterns {
        patterns: folders(text),
        exact,
    })
}

/// A path's expression for a rule that blocks: patterns that stand for no less.
pub(in crate::import) fn around_path_regex(
    pattern: &str,
    ignores_case: bool,
) -> Result<PathPatterns, String> {
    let (steps, end) = path_steps(pattern)?;
    let mut text = vec![String::new()];
    let mut exact = end == steps.len();
    let mut open = !exact;
    for (at, step) in steps[..end].iter().enumerate() {
        let parts: Vec<String> = match step {
            Step::Characters(choices) if ignores_case => {
                let folded = |choice: &String| choice.chars().map(folded_character).collect();
                choices.iter().map(folded).collect()
            }
            Step::Characters(choices) => choices.iter().map(|choice| literal(choice)).collect(),
            Step::NoSlash => vec!["*".to_owned()],
            Step::Rest | Step::One => {
                exact &= *step == Step::Rest && at + 1 == steps.len();
                open = true;
                break;
            }
        };
        text = product(&text, &parts)?;
    }
    if open {
        let fixed = text
            .iter()
            .all(|start| start.starts_with('/') && start.len() > 1);
        if !fixed {
            return Err(format!(
                "the expression \"{pattern}\" has no fixed beginning"
            ));
        }
        text = product(&text, &["*".to_owned(), "*/**".to_owned()])?;
    }
    Ok(PathPatterns {
        patterns: folders(text),
        exact,
    })
}

/// `/opt/*/**` beside `/opt/*` is `/opt/**`.
fn folders(patterns: Vec<String>) -> Vec<String> {
    let mut short: Vec<String> = Vec::new();
    for pattern in patterns {
        match pattern
            .strip_suffix("/*/**")
            .map(|folder| format!("{folder}/*"))
        {
            Some(beside) if short.contains(&beside) => {
                short.retain(|other| *other != beside);
                short.push(beside + "*");
            }
            _ => short.push(pattern),
        }
    }
    short
}

fn product(starts: &[String], ends: &[String]) -> Result<Vec<String>, String> {
    if starts.len() * ends.len() > MOST_ALTERNATIVES {
        return Err(format!(
            "the expression stands for more than {MOST_ALTERNATIVES} patterns"
        ));
    }
    let joined = starts
        .iter()
        .flat_map(|start| ends.iter().map(move |end| format!("{start}{end}")));
    Ok(joined.collect())
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// One of these texts.
    Characters(Vec<String>),
    /// `.*`
    Rest,
    /// `[^/]*`
    NoSlash,
    /// `.`
    One,
}

/// The steps of an expression from `^` on, and how many of them were understood; an open end is a last [`Step::Rest`].
fn path_steps(pattern: &str) -> Result<(Vec<Step>, usize), String> {
    let unfixed = || format!("the expression \"{pattern}\" has no fixed beginning");
    let mut rest = pattern.strip_prefix('^').ok_or_else(unfixed)?;
    let mut steps = Vec::new();
    loop {
        let Some(first) = rest.chars().next() else {
            // An open end is `.*`, which may stand there too.
            if steps.last() != Some(&Step::Rest) {
                steps.push(Step::Rest);
            }
            break;
        };
        let (step, length) = if rest == "$" {
            break;
        } else if rest.starts_with(".*") {
            (Step::Rest, 2)
        } else if rest.starts_with("[^/]*") {
            (Step::NoSlash, 5)
        } else if first == '.' {
            (Step::One, 1)
        } else if first == '(' {
            match group(rest) {
                Some((choices, length)) => (Step::Characters(choices), length),
                None => return Ok(cut_off(steps)),
            }
        } else {
            match character(rest) {
                Some((character, length)) => (Step::Characters(vec![character]), length),
                None => return Ok(cut_off(steps)),
            }
        };
        rest = &rest[length..];
        if rest.starts_with(['*', '+', '?', '{', '|']) {
            // It repeats what was read last, or ends the whole expression's first choice.
            if rest.starts_with('|') {
                return Err(unfixed());
            }
            return Ok(cut_off(steps));
        }
        steps.push(step);
    }
    let understood = steps.len();
    Ok((steps, understood))
}

/// What was read, with one step more that was not understood.
fn cut_off(mut steps: Vec<Step>) -> (Vec<Step>, usize) {
    let understood = steps.len();
    steps.push(Step::Rest);
    (steps, understood)
}

/// A character that stands for itself, and how long it is as written.
fn character(text: &str) -> Option<(String, usize)> {
    let mut characters = text.chars();
    let first = characters.next()?;
    if first == '\\' {
        let escaped = characters.next()?;
        let stands_for_itself = escaped.is_ascii_punctuation() && !"<>".contains(escaped);
        return stands_for_itself.then(|| (escaped.to_string(), 2));
    }
    (!"^$*+?()[]{}|".contains(first)).then(|| (first.to_string(), first.len_utf8()))
}

/// `(one|two)` of plain characters, and how long it is as written.
fn group(text: &str) -> Option<(Vec<String>, usize)> {
    let start = if text.starts_with("(?:") { 3 } else { 1 };
    let mut choices = vec![String::new()];
    let mut at = start;
    loop {
        let rest = text.get(at..)?;
        match rest.chars().next()? {
            ')' => return Some((choices, at + 1)),
            '|' => {
                choices.push(String::new());
                at += 1;
            }
            '.' => return None,
            _ => {
                let (plain, length) = character(rest)?;
                choices.last_mut()?.push_str(&plain);
                at += length;
                if text.get(at..)?.starts_with(['*', '+', '?', '{']) {
                    return None;
                }
            }
        }
    }
}
