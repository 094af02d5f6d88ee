//! What a policy answers.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::protection::Protection;

/// What happens to a flow.
///
/// Ordered by strictness: of several owners of one socket the greatest verdict holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Forwarded.
    Allow,
    /// Held until the user has answered.
    Ask,
    /// Refused at once: RST or ICMP unreachable.
    Block,
    /// Silence.
    Drop,
}

impl Verdict {
    /// All verdicts.
    pub const ALL: [Self; 4] = [Self::Allow, Self::Ask, Self::Block, Self::Drop];
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Ask => "ask",
            Self::Block => "block",
            Self::Drop => "drop",
        })
    }
}

/// What gave a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DecidedBy {
    /// The rule at this position, counted from 0 in the order written. It matched; of a flow whose program was lost
    /// ([`Policy::decide_for_lost`](crate::Policy::decide_for_lost)) all of it but its app condition did.
    Rule(usize),
    /// No rule matched, and this refuses the flow.
    Protection(Protection),
    /// No rule matched, and no protection refuses the flow.
    Default,
}

/// A verdict and what gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Decision {
    /// What happens to the flow.
    pub verdict: Verdict,
    /// The rule, the protection, or the default.
    pub by: DecidedBy,
    /// Undecided until a name is known: an earlier rule, at this position, would give another verdict if it matched, and
    /// waits for nothing but a name of the other end ([`Names::Awaited`](crate::Names::Awaited)). `verdict` is what holds
    /// if no name comes. What becomes of the flow meanwhile is the caller's business.
    pub waits_for: Option<usize>,
}
