//! What is typed at a question.

use tidegate_policy::Verdict;

use crate::ask::{Answer, Lifetime, Reach};

pub(super) const HELP: &str = "\
  allow [SCOPE] [TIME]    its flows may pass
  block [SCOPE] [TIME]    they are refused
      SCOPE  exact     this other end at this port (if you say nothing)
             host      this other end
             domain    its name and all beneath it; domain:NAME beneath another one
             port      this port, wherever
             anywhere  all that this program does
      TIME   once      the flows that wait now (if you say nothing)
             process   as long as this process runs
             10m 8h 7d 2026-12-01 forever
  skip                    leave it open, and go on to the next
  quit
";

/// A line's meaning.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    Answer(Answer),
    Skip,
    Quit,
    Help,
    /// Enter alone: no answer.
    Nothing,
}

/// Reads a line. Words are written out, so that a slip answers nothing.
pub(super) fn read(line: &str) -> Result<Said, String> {
    let mut words = line.split_whitespace();
    let verdict = match words.next() {
        None => return Ok(Said::Nothing),
        Some("?" | "help") => return Ok(Said::Help),
        Some("skip") => return Ok(Said::Skip),
        Some("quit") => return Ok(Said::Quit),
        Some("allow") => Verdict::Allow,
        Some("block") => Verdict::Block,
        Some(other) => return Err(format!("\"{other}\" is no answer: write allow or block")),
    };
    let (mut reach, mut lifetime) = (None, None);
    for word in words {
        let twice = if let Ok(own) = word.parse::<Reach>() {
            reach.replace(own).is_some()
        } else if let Ok(own) = word.parse::<Lifetime>() {
            lifetime.replace(own).is_some()
        } else {
            return Err(format!(
                "\"{word}\" is neither a scope nor a time: ? shows them"
            ));
        };
        if twice {
            return Err(format!("\"{word}\" is the second of its kind"));
        }
    }
    Ok(Said::Answer(Answer {
        verdict,
        reach: reach.unwrap_or(Reach::Exact),
        lifetime: lifetime.unwrap_or(Lifetime::Once),
    }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_answer_is_a_whole_word_and_nothing_else_allows() {
        for line in [
            "", " ", "a", "y", "yes", "Allow", "ALLOW", "allowed", "ok", "1",
        ] {
            assert!(!matches!(read(line), Ok(Said::Answer(_))), "{line}");
        }
        let plain = Answer {
            verdict: Verdict::Allow,
            reach: Reach::Exact,
            lifetime: Lifetime::Once,
        };
        assert_eq!(read(" allow "), Ok(Said::Answer(plain)));
    }

    #[test]
    fn scope_and_time_may_stand_in_any_order_once_each() {
        let answer = Answer {
            verdict: Verdict::Block,
            reach: Reach::Domain(Some("example.com".to_owned())),
            lifetime: Lifetime::For(Duration::from_secs(600)),
        };
        for line in [
            "block domain:example.com 10m",
            "block 10m domain:example.com",
        ] {
            assert_eq!(read(line), Ok(Said::Answer(answer.clone())));
        }
        for line in ["allow host port", "allow 10m forever", "allow nonsense"] {
            assert!(read(line).is_err(), "{line}");
        }
    }
}
