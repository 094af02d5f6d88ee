//! The pattern of one component of a path: `*`, `?`, `[a-z]` and plain characters.

use crate::document::Refusal;

/// The pattern of one component of a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Component {
    /// No wildcard.
    Literal(Box<[u8]>),
    /// Tokens in order.
    Pattern(Box<[Token]>),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Token {
    /// This character.
    Exactly(char),
    /// `?`: any character.
    Any,
    /// `*`: any number of characters.
    Many,
    /// `[a-z]`, or negated `[!a-z]`: ranges, both ends included.
    OneOf {
        ranges: Box<[(char, char)]>,
        negated: bool,
    },
}

impl Component {
    pub(super) fn new(text: &str) -> Result<Self, Refusal> {
        if !text.contains(['*', '?', '[']) {
            return Ok(Self::Literal(text.as_bytes().into()));
        }
        let mut tokens = Vec::new();
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            tokens.push(match character {
                '*' => Token::Many,
                '?' => Token::Any,
                '[' => class(&mut characters)?,
                plain => Token::Exactly(plain),
            });
        }
        tokens.dedup_by(|next, previous| *next == Token::Many && *previous == Token::Many);
        Ok(Self::Pattern(tokens.into()))
    }

    pub(super) fn literal(&self) -> Option<&[u8]> {
        match self {
            Self::Literal(text) => Some(text),
            Self::Pattern(_) => None,
        }
    }

    /// Whether all of `text` matches. Greedy, with one place to come back to: the last `*`.
    pub(super) fn matches(&self, text: &[u8]) -> bool {
        let tokens = match self {
            Self::Literal(literal) => return text == &**literal,
            Self::Pattern(tokens) => tokens,
        };
        let (mut at, mut rest) = (0, text);
        let mut last_many: Option<(usize, &[u8])> = None;
        loop {
            match (tokens.get(at), split_character(rest)) {
                (None, None) => return true,
                (Some(Token::Many), _) => {
                    at += 1;
                    last_many = Some((at, rest));
                    continue;
                }
                (Some(token), Some((character, after))) if token.accepts(character) => {
                    at += 1;
                    rest = after;
                    continue;
                }
                (Some(_), _) | (None, Some(_)) => {}
            }
            let Some((token, from)) = last_many else {
                return false;
            };
            let Some((_, after)) = split_character(from) else {
                return false;
            };
            last_many = Some((token, after));
            (at, rest) = (token, after);
        }
    }
}

impl Token {
    /// `character` is absent for a byte that is no part of valid UTF-8.
    fn accepts(&self, character: Option<char>) -> bool {
        match self {
            Self::Exactly(own) => character == Some(*own),
            Self::Any => true,
            Self::OneOf { ranges, negated } => {
                let inside = character.is_some_and(|c| {
                    ranges
                        .iter()
                        .any(|(first, last)| (*first..=*last).contains(&c))
                });
                inside != *negated
            }
            Self::Many => false,
        }
    }
}

/// The first character and the rest; an invalid byte counts as a character of its own.
fn split_character(text: &[u8]) -> Option<(Option<char>, &[u8])> {
    let first = *text.first()?;
    if first.is_ascii() {
        return Some((Some(char::from(first)), &text[1..]));
    }
    let longest = &text[..text.len().min(4)];
    let valid = longest
        .utf8_chunks()
        .next()
        .map_or("", |chunk| chunk.valid());
    match valid.chars().next() {
        Some(character) => Some((Some(character), &text[character.len_utf8()..])),
        None => Some((None, &text[1..])),
    }
}

/// The rest of a `[...]` whose bracket was read.
fn class(characters: &mut std::str::Chars<'_>) -> Result<Token, Refusal> {
    let unclosed = || Refusal::new("`[` without `]`", "write [[] for the character itself");
    let mut first = characters.next().ok_or_else(unclosed)?;
    let negated = matches!(first, '!' | '^');
    if negated {
        first = characters.next().ok_or_else(unclosed)?;
    }
    let mut ranges: Vec<(char, char)> = Vec::new();
    let mut next = first;
    loop {
        let mut ahead = characters.clone();
        match (ahead.next(), ahead.next()) {
            (Some('-'), Some(last)) if last != ']' => {
                if last < next {
                    return Err(Refusal::new(
                        format!("the range {next}-{last} runs backwards"),
                        format!("write {last}-{next}"),
                    ));
                }
                ranges.push((next, last));
                *characters = ahead;
            }
            _ => ranges.push((next, next)),
        }
        next = characters.next().ok_or_else(unclosed)?;
        if next == ']' {
            return Ok(Token::OneOf {
                ranges: ranges.into(),
                negated,
            });
        }
    }
}
