//! Programs captured, in either way: what a scenario needs to hold under both captures.

use anyhow::Result;

use crate::namespace::User;
use crate::network::Lab;
use crate::session::Session;

/// How packets of programs reach the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capture {
    /// `tidegate exec`: programs run in a network namespace that has nothing but the gateway.
    Exec,
    /// `tidegate run`: programs run on the host, whose policy routing leads to the gateway.
    Host,
}

impl Lab {
    /// A place where an ordinary user's programs run captured, with this configuration.
    pub fn captured(&self, capture: Capture, config: &str) -> Result<Session<'_>> {
        self.captured_as(capture, User::ALICE, config)
    }

    /// The same for this user's programs.
    pub fn captured_as(&self, capture: Capture, user: User, config: &str) -> Result<Session<'_>> {
        match capture {
            Capture::Exec => self.exec().user(user).session(config),
            Capture::Host => Session::on_host(self, user, config),
        }
    }
}

/// Makes two tests of each function named, `exec::NAME` and `host::NAME`, which call it with the [`Capture`].
///
/// A function takes a [`Capture`] and returns an `anyhow::Result`. One that is not named is unused, which the compiler says.
#[macro_export]
macro_rules! under_both_captures {
    ($($(#[$attribute:meta])* $scenario:ident,)+) => {
        mod exec {
            $(
                #[test]
                $(#[$attribute])*
                fn $scenario() -> ::anyhow::Result<()> {
                    super::$scenario($crate::Capture::Exec)
                }
            )+
        }
        mod host {
            $(
                #[test]
                $(#[$attribute])*
                fn $scenario() -> ::anyhow::Result<()> {
                    super::$scenario($crate::Capture::Host)
                }
            )+
        }
    };
}
