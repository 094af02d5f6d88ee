//! Wildcards for paths and names: `*`, `**`, `?`, `[a-z]` and `{one,two}`.
//!
//! `*` and `?` stay within one component of a path; `**` as a whole component stands for any number of components.
//! So `/opt/x/*` matches what lies directly in the folder, `/opt/x/**` all that lies beneath it. A glob is matched by
//! going along the text once with at most one step back per wildcard: no allocation, and no pattern whose matching
//! explodes. The meaning is that of the `globset` crate with `literal_separator`, against which it is tested; what
//! `globset` lacks here is a small, constant cost per pattern.

mod braces;
mod component;

use std::fmt;

use component::Component;

use crate::document::Refusal;

/// A compiled wildcard pattern.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Glob {
    text: Box<str>,
    alternatives: Box<[Alternative]>,
}

/// A pattern without braces.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Alternative {
    steps: Box<[Step]>,
}

/// One component of a path pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Step {
    /// `**`: any number of components.
    AnyDepth,
    /// Exactly one component.
    One(Component),
}

/// What a text must have to match a pattern, and can be looked up by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Landmark {
    /// It is this text.
    Whole(Box<[u8]>),
    /// It lies beneath this folder.
    Beneath(Box<[u8]>),
    /// Its last component is this.
    Last(Box<[u8]>),
    /// Nothing that could be looked up.
    None,
}

impl Glob {
    /// Whether `text` means anything but itself.
    pub fn has_wildcard(text: &str) -> bool {
        text.contains(['*', '?', '[', '{'])
    }

    /// Compiles a pattern.
    ///
    /// # Errors
    ///
    /// An unclosed `[` or `{`, a range that runs backwards, or braces that stand for more than 64 patterns.
    pub fn new(text: &str) -> Result<Self, Refusal> {
        let alternatives = braces::expand(text)?
            .iter()
            .map(|pattern| Alternative::new(pattern))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            text: text.into(),
            alternatives,
        })
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the whole of `text` matches.
    pub fn matches(&self, text: &[u8]) -> bool {
        self.alternatives
            .iter()
            .any(|alternative| steps_match(&alternative.steps, text))
    }

    /// What a text must have to match, of each alternative.
    pub(crate) fn landmarks(&self) -> impl Iterator<Item = Landmark> {
        self.alternatives.iter().map(Alternative::landmark)
    }
}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Glob").field(&self.text).finish()
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Alternative {
    fn new(pattern: &str) -> Result<Self, Refusal> {
        let steps = pattern
            .split('/')
            .map(|part| {
                if part == "**" {
                    Ok(Step::AnyDepth)
                } else {
                    Component::new(part).map(Step::One)
                }
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { steps })
    }

    fn landmark(&self) -> Landmark {
        let literal = |step: &Step| match step {
            Step::One(component) => component.literal().map(<[u8]>::to_vec),
            Step::AnyDepth => None,
        };
        let mut leading: Vec<Vec<u8>> = self.steps.iter().map_while(literal).collect();
        if leading.len() == self.steps.len() {
            return Landmark::Whole(leading.join(&b'/').into());
        }
        leading.truncate(self.steps.len() - 1);
        let folder = leading.join(&b'/');
        match self.steps.last().and_then(literal) {
            Some(last) if folder.is_empty() => Landmark::Last(last.into()),
            Some(_) | None if leading.is_empty() => Landmark::None,
            Some(_) | None => Landmark::Beneath(folder.into()),
        }
    }
}

/// Greedy matching with one place to come back to, the last `**`: an earlier one cannot help where a later one fails.
fn steps_match(steps: &[Step], text: &[u8]) -> bool {
    let mut rest = Some(text);
    let mut at = 0;
    let mut last_any_depth = None;
    loop {
        match (steps.get(at), rest) {
            (None, None) => return true,
            (Some(Step::AnyDepth), _) if at + 1 == steps.len() => {
                return rest.is_some_and(|rest| !rest.is_empty());
            }
            (Some(Step::AnyDepth), _) => {
                at += 1;
                last_any_depth = rest.map(|rest| (at, rest));
                continue;
            }
            (Some(Step::One(component)), Some(path)) => {
                let (first, after) = split_component(path);
                if component.matches(first) {
                    rest = after;
                    at += 1;
                    continue;
                }
            }
            (None, Some(_)) | (Some(Step::One(_)), None) => {}
        }
        let Some((step, from)) = last_any_depth else {
            return false;
        };
        let (_, after) = split_component(from);
        let Some(after) = after else { return false };
        last_any_depth = Some((step, after));
        rest = Some(after);
        at = step;
    }
}

/// The first component, and what follows its `/`.
fn split_component(path: &[u8]) -> (&[u8], Option<&[u8]>) {
    match path.iter().position(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], Some(&path[slash + 1..])),
        None => (path, None),
    }
}

#[cfg(test)]
mod tests;
