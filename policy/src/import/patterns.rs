//! Texts and regular expressions of others as values of our language.

mod paths;

use std::net::IpAddr;

use ipnet::IpNet;
use regex::bytes::{Regex, RegexBuilder};

use crate::name::Name;

pub(super) use paths::{around_path_regex, within_path_regex};

/// Makes a value of `to` of a text.
pub(super) type Make = fn(&str) -> Result<String, String>;

/// Ranges that an expression over ports may stand for.
const MOST_RANGES: usize = 256;
/// What the expression of a finite set may be, in characters and compiled.
const LONGEST_SMALL_REGEX: usize = 512;
const LARGEST_SMALL_REGEX: usize = 64 << 10;

/// A path, or a name of a file, as a pattern that stands for nothing else.
pub(super) fn literal(path: &str) -> String {
    path.chars().map(literal_character).collect()
}

fn literal_character(character: char) -> String {
    match character {
        '*' | '?' | '[' | '{' | '}' => format!("[{character}]"),
        plain => plain.to_string(),
    }
}

/// Patterns for a text that is compared without regard to case: the text itself, and one for all its ways of writing.
pub(super) fn folded(text: &str) -> Vec<String> {
    let any_case: String = text.chars().map(folded_character).collect();
    let itself = literal(text);
    if any_case == itself {
        vec![itself]
    } else {
        vec![itself, any_case]
    }
}

/// Unicode folds U+212A to `k` and U+017F to `s`.
fn folded_character(character: char) -> String {
    let lower = character.to_ascii_lowercase();
    match lower {
        'k' => "[kK\u{212a}]".to_owned(),
        's' => "[sS\u{17f}]".to_owned(),
        'a'..='z' => format!("[{lower}{}]", lower.to_ascii_uppercase()),
        _ if character.is_ascii() => literal_character(character),
        _ if character.is_alphabetic() => "?".to_owned(),
        other => other.to_string(),
    }
}

/// This name, as `to` holds it.
pub(super) fn exact_name(text: &str) -> Result<String, String> {
    let name = name(text)?;
    let name = name.as_str();
    Ok(if name.contains('.') {
        name.to_owned()
    } else {
        format!("{name}.")
    })
}

/// This name and all beneath it.
pub(super) fn name_and_below(text: &str) -> Result<String, String> {
    name(text).map(|name| format!(".{name}"))
}

/// All beneath this name.
pub(super) fn below_name(text: &str) -> Result<String, String> {
    name(text).map(|name| format!("*.{name}"))
}

fn name(text: &str) -> Result<Name, String> {
    let name = Name::parse(text).map_err(|refusal| format!("\"{text}\": {refusal}"))?;
    let top = name.as_str().rsplit('.').next().unwrap_or_default();
    if top.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("\"{text}\" is an address, or nothing"));
    }
    Ok(name)
}

/// An address or a network; its host bits are cleared.
pub(super) fn net(text: &str) -> Result<String, String> {
    let text = text.trim();
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.to_canonical().to_string());
    }
    let net: IpNet = text
        .parse()
        .map_err(|_| format!("\"{text}\" is no address and no network"))?;
    let mapped = matches!(net, IpNet::V6(net) if net.addr().to_ipv4_mapped().is_some());
    if mapped && net.prefix_len() < 96 {
        return Err(format!("\"{text}\" reaches beyond the mapped addresses"));
    }
    Ok(net.trunc().to_string())
}

/// An address, a network, or a range `a-b`.
pub(super) fn net_or_range(text: &str) -> Result<String, String> {
    let Some((first, last)) = text.split_once('-') else {
        return net(text);
    };
    let address = |text: &str| {
        let parsed: Result<IpAddr, _> = text.trim().parse();
        parsed.map_err(|_| format!("\"{text}\" is no address"))
    };
    Ok(format!("{}-{}", address(first)?, address(last)?))
}

/// `80` or `80-443` as `port` holds it, without a protocol.
pub(super) fn ports(text: &str, separator: char) -> Result<String, String> {
    let number = |text: &str| {
        let parsed: Result<u16, _> = text.trim().parse();
        parsed.map_err(|_| format!("\"{text}\" is no port"))
    };
    match text.split_once(separator) {
        None => Ok(number(text)?.to_string()),
        Some((first, last)) => {
            let (first, last) = (number(first)?, number(last)?);
            if last < first {
                return Err(format!("the range \"{text}\" runs backwards"));
            }
            Ok(format!("{first}-{last}"))
        }
    }
}

/// A regular expression over names as `to` holds it: names are in lower case, ours ignore case, so one with upper case
/// would mean more.
pub(super) fn name_regex(pattern: &str) -> Result<String, String> {
    if let Some(simple) = simple_name_regex(pattern) {
        return Ok(simple);
    }
    same_in_both(pattern)?;
    let mut escaped = false;
    for letter in pattern.chars() {
        if letter.is_ascii_uppercase() && !(escaped && "SWDBA".contains(letter)) {
            return Err(format!(
                "the expression \"{pattern}\" asks for upper case, which names do not have"
            ));
        }
        escaped = letter == '\\' && !escaped;
    }
    Ok(format!("/{pattern}/"))
}

/// What is read otherwise by one of the two kinds of regular expression, Go's and ours.
fn same_in_both(pattern: &str) -> Result<(), String> {
    let odd = [
        "&&", "--", "~~", "\\p", "\\P", "\\C", "\\Q", "\\u", "\\<", "\\>", "\\b{",
    ];
    let flags = pattern.replace("(?:", "(").contains("(?");
    if pattern.is_empty()
        || flags
        || !pattern.is_ascii()
        || odd.iter().any(|odd| pattern.contains(odd))
    {
        return Err(format!(
            "the expression \"{pattern}\" means something else here"
        ));
    }
    // `[` within a class is a class of its own here.
    let mut in_class = false;
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => drop(letters.next()),
            '[' if in_class => {
                return Err(format!(
                    "the expression \"{pattern}\" means something else here"
                ));
            }
            '[' => in_class = true,
            ']' => in_class = false,
            _ => {}
        }
    }
    Ok(())
}

/// The forms that programs write for a name, for a name with all beneath it, and for all beneath it.
pub(super) fn simple_name_regex(pattern: &str) -> Option<String> {
    let whole = pattern.strip_prefix('^')?.strip_suffix('$')?;
    let forms: [(&str, Make); 5] = [
        (r"(|.*\.)", name_and_below),
        (r"(.*\.|)", name_and_below),
        (r"(.*\.)?", name_and_below),
        (r".+\.", below_name),
        ("", exact_name),
    ];
    forms.iter().find_map(|(start, make)| {
        let rest = whole.strip_prefix(start)?;
        let plain = rest.replace("\\.", ".");
        let is_plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
        // A bare dot would stand for any character.
        let dots = rest.matches("\\.").count() == rest.matches('.').count();
        (dots && plain.bytes().all(is_plain)).then(|| make(&plain).ok())?
    })
}

/// An expression that is held against the few texts of a finite set, as Go reads it.
pub(super) fn small_regex(pattern: &str) -> Result<Regex, String> {
    same_in_both(pattern)?;
    if pattern.len() > LONGEST_SMALL_REGEX {
        return Err("the expression is too long".to_owned());
    }
    RegexBuilder::new(pattern)
        .size_limit(LARGEST_SMALL_REGEX)
        .dfa_size_limit(4 * LARGEST_SMALL_REGEX)
        .nest_limit(50)
        .unicode(false)
        .build()
        .map_err(|_| format!("\"{pattern}\" is no regular expression"))
}

/// The ports that an expression stands for, as ranges.
pub(super) fn ports_of_regex(pattern: &str) -> Result<Vec<String>, String> {
    let regex = small_regex(pattern)?;
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for port in 0..=u16::MAX {
        if !regex.is_match(port.to_string().as_bytes()) {
            continue;
        }
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == port => *last = port,
            _ => ranges.push((port, port)),
        }
        if ranges.len() > MOST_RANGES {
            return Err(format!(
                "\"{pattern}\" stands for more than {MOST_RANGES} ranges of ports"
            ));
        }
    }
    if ranges.is_empty() {
        return Err(format!("\"{pattern}\" stands for no port"));
    }
    let written = ranges.iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    Ok(written.collect())
}
