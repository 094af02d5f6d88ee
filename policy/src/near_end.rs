//! The near end of a flow, which `from` of a rule is about: the address that its own program, container or neighbour has.

use std::net::IpAddr;

use crate::definitions::Definitions;
use crate::destination::Destination;
use crate::document::Refusal;
use crate::facts::FlowFacts;
use crate::truth::Truth;

impl FlowFacts<'_> {
    /// The near end's address, an IPv4-mapped one as IPv4; none where it is not known.
    pub fn near_end(&self) -> Option<IpAddr> {
        let address = self.local.ip().to_canonical();
        (!address.is_unspecified()).then_some(address)
    }
}

impl Destination {
    /// Reads what may stand in `from`.
    ///
    /// # Errors
    ///
    /// As [`Destination::parse`], and what needs more than an address: names, places, lists.
    pub(crate) fn parse_near_end(text: &str) -> Result<Self, Refusal> {
        let parsed = Self::parse(text)?;
        if parsed.feed().is_some() {
            return Err(Refusal::new(
                format!("\"{text}\" says nothing of where a flow comes from"),
                "`from` takes addresses, networks, ranges, scopes, and sets of those",
            ));
        }
        Ok(parsed)
    }

    /// Whether the flow's near end is meant.
    pub(crate) fn truth_of_near_end(
        &self,
        facts: &FlowFacts<'_>,
        definitions: &Definitions,
    ) -> Truth {
        if *self == Self::Anywhere {
            return Truth::Holds;
        }
        let Some(address) = facts.near_end() else {
            return Truth::Unknown;
        };
        let Some(set) = self.set() else {
            return Truth::of(self.contains(address));
        };
        let mut members = definitions.members(set).into_iter().flatten();
        Truth::of(members.any(|member| member.contains(address)))
    }
}

#[cfg(test)]
mod tests;
