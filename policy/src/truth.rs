//! What can be said of a condition: not everything is known of every flow.

/// What can be said of a condition on one flow.
///
/// What is not known matches nothing, not even under `not`: so a missing fact never lets a rule decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Truth {
    /// It holds.
    Holds,
    /// It does not hold.
    Fails,
    /// A fact that it needs is not known, and will not be.
    Unknown,
    /// It depends on a name of the other end, which may yet be learned.
    Awaited,
}

impl Truth {
    pub(crate) fn of(holds: bool) -> Self {
        if holds { Self::Holds } else { Self::Fails }
    }

    /// Of a list, one that holds is enough.
    pub(crate) fn any(each: impl IntoIterator<Item = Self>) -> Self {
        let mut any = Self::Fails;
        for one in each {
            any = match (any, one) {
                (_, Self::Holds) => return Self::Holds,
                (Self::Awaited, _) | (_, Self::Awaited) => Self::Awaited,
                (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
                (Self::Fails | Self::Holds, Self::Fails) => Self::Fails,
            };
        }
        any
    }

    pub(crate) fn negated(self) -> Self {
        match self {
            Self::Holds => Self::Fails,
            Self::Fails => Self::Holds,
            Self::Unknown | Self::Awaited => self,
        }
    }

    /// Both must hold: what one of them rules out need not be waited for.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Fails, _) | (_, Self::Fails) => Self::Fails,
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            (Self::Awaited, _) | (_, Self::Awaited) => Self::Awaited,
            (Self::Holds, Self::Holds) => Self::Holds,
        }
    }
}
