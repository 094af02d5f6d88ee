//! Who asks, as a list's `$client` names it.

/// A program by an app selector, or every other than it.
///
/// Lists written for DNS servers name devices here; ours name programs. Which selector a program answers to is for the
/// caller to know.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Client {
    /// The selector's text, unquoted.
    pub selector: Box<str>,
    /// Whether `~` stood before it: everyone but this.
    pub negated: bool,
}

impl Client {
    /// Whether `clients` hold for someone of whom `is` says which selectors are his: none of the negated, and one of the
    /// others where there are others.
    pub fn any_holds(clients: &[Self], is: &dyn Fn(&str) -> bool) -> bool {
        let mut wanted = clients.iter().filter(|client| !client.negated).peekable();
        let mut unwanted = clients.iter().filter(|client| client.negated);
        let among = wanted.peek().is_none() || wanted.any(|client| is(&client.selector));
        among && !unwanted.any(|client| is(&client.selector))
    }

    /// Reads one value of `$client`: `~` negates, quotes keep a `~` and spaces, `\` takes the next as it is.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (negated, text) = match text.strip_prefix('~') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let inner = ['"', '\''].into_iter().find_map(|quote| {
            let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
            (!ends_in_escape(inner)).then_some(inner)
        });
        let mut selector = String::new();
        let mut rest = inner.unwrap_or(text).chars();
        while let Some(next) = rest.next() {
            selector.push(if next == '\\' { rest.next()? } else { next });
        }
        (!selector.is_empty()).then(|| Self {
            selector: selector.into(),
            negated,
        })
    }

    /// The form that [`Self::parse`] reads.
    pub(crate) fn written(&self) -> String {
        let mut text = String::from(if self.negated { "~'" } else { "'" });
        for next in self.selector.chars() {
            if matches!(next, '"' | '\'' | ',' | '|' | '\\') {
                text.push('\\');
            }
            text.push(next);
        }
        text.push('\'');
        text
    }
}

fn ends_in_escape(text: &str) -> bool {
    let backslashes = text.bytes().rev().take_while(|byte| *byte == b'\\').count();
    backslashes % 2 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_escapes_keep_what_would_mean_something() {
        for (text, selector, negated) in [
            ("firefox", "firefox", false),
            ("~firefox", "firefox", true),
            ("'~x'", "~x", false),
            (r"'it\'s, a'", "it's, a", false),
            (r"~'a\|b'", "a|b", true),
        ] {
            let client = Client::parse(text).unwrap();
            assert_eq!((&*client.selector, client.negated), (selector, negated));
            assert_eq!(Client::parse(&client.written()), Some(client));
        }
        assert_eq!(Client::parse("''"), None);
        assert_eq!(Client::parse("a\\"), None);
    }

    #[test]
    fn the_negated_exclude_and_the_others_include() {
        let clients: Vec<_> = ["a", "b", "~c"].map(|t| Client::parse(t).unwrap()).into();
        let holds = |own: &[&str]| Client::any_holds(&clients, &|asked| own.contains(&asked));
        assert!(holds(&["a"]) && holds(&["b", "x"]));
        assert!(!holds(&["x"]) && !holds(&["a", "c"]));
        assert!(Client::any_holds(&clients[2..], &|asked| asked == "x"));
    }
}
