//! The change record: who changed what, when, from what to what.
//!
//! Each change of policy, setting or answer is one line of a file to which lines are only added. A line begins with a
//! hash over the hash before it and over itself, so that a line that was changed, taken out or put in breaks the chain
//! ([`verify()`]). A second file holds the number and the hash of the last line: that shows a tail that was cut off. What
//! neither shows is a file that somebody wrote anew with both: who may do that is root, or the user who runs us. Whoever
//! must know keeps the last hash elsewhere (`tidegate audit verify` prints it).

mod chain;
mod change;
mod file;
mod head;
mod verify;

pub use chain::Hash;
pub use change::{Author, Change, Record, Subject};
pub use file::{Audit, AuditError, read};
pub use verify::{Fault, Verified, verify};

#[cfg(test)]
mod tests;
