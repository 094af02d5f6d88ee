//! What kinds of facts there are beyond addresses, ports and programs.

/// A kind of fact that not everyone who asks a policy can give.
///
/// A condition on a fact that is never given would do nothing, so it is refused where it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Feed {
    /// Names of the other end.
    Names,
    /// Country, continent and autonomous system of its address.
    Places,
    /// The lists it is on.
    Lists,
}

impl Feed {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Names, Self::Places, Self::Lists];

    /// What cannot be told without it, and what to do instead.
    pub(crate) fn absence(self) -> (&'static str, &'static str) {
        match self {
            Self::Names => (
                "the names of destinations are not learned yet, so the rule would never match",
                "name an address or a network",
            ),
            Self::Places => (
                "where an address is in use is not looked up yet, so the rule would never match",
                "name an address or a network",
            ),
            Self::Lists => (
                "lists are not loaded yet, so the rule would never match",
                "name addresses or networks",
            ),
        }
    }

    /// What is not known where it is missing.
    pub(crate) fn subject(self) -> &'static str {
        match self {
            Self::Names => "no name of the destination is known",
            Self::Places => "where the destination is, is not known",
            Self::Lists => "no list is loaded",
        }
    }
}
