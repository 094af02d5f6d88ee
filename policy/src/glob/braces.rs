//! `{one,two}`: a pattern with braces stands for several without.

use crate::document::Refusal;

/// More patterns than this are surely a mistake.
const MOST: usize = 64;

/// The patterns that `text` stands for. Braces within `[...]` are plain characters; braces may be nested.
pub(super) fn expand(text: &str) -> Result<Vec<String>, Refusal> {
    let mut finished = Vec::new();
    let mut pending = vec![text.to_owned()];
    while let Some(pattern) = pending.pop() {
        if finished.len() + pending.len() >= MOST {
            let message = format!("the braces stand for more than {MOST} patterns");
            return Err(Refusal::new(message, "write a list of simpler patterns"));
        }
        match outermost(&pattern)? {
            None => finished.push(pattern),
            Some(braces) => {
                let (before, after) = (&pattern[..braces.open], &pattern[braces.close + 1..]);
                let mut from = braces.open + 1;
                for to in braces.commas.into_iter().chain([braces.close]) {
                    pending.push(format!("{before}{}{after}", &pattern[from..to]));
                    from = to + 1;
                }
            }
        }
    }
    Ok(finished)
}

/// Byte offsets of the first pair of braces and of the commas directly within.
struct Braces {
    open: usize,
    commas: Vec<usize>,
    close: usize,
}

fn outermost(pattern: &str) -> Result<Option<Braces>, Refusal> {
    let mut depth = 0_usize;
    let mut in_class = false;
    let mut open = 0;
    let mut commas = Vec::new();
    for (at, character) in pattern.char_indices() {
        match character {
            ']' => in_class = false,
            _ if in_class => {}
            '[' => in_class = true,
            '{' => {
                if depth == 0 {
                    open = at;
                }
                depth += 1;
            }
            '}' if depth == 0 => {
                return Err(Refusal::new(
                    "`}` without `{`",
                    "write [}] for the character itself",
                ));
            }
            '}' if depth == 1 => {
                return Ok(Some(Braces {
                    open,
                    commas,
                    close: at,
                }));
            }
            '}' => depth -= 1,
            ',' if depth == 1 => commas.push(at),
            _ => {}
        }
    }
    if depth > 0 {
        return Err(Refusal::new(
            "`{` without `}`",
            "write [{] for the character itself",
        ));
    }
    Ok(None)
}
