//! Flows and status as people read them.
//!
//! Every cell that holds a name, a path or an address of the outside passes through
//! [`printable`](crate::terminal::printable).

mod amount;
mod flows;
mod questions;
mod status;
mod summary;
mod table;

pub use amount::counted;
pub use flows::{FlowLines, flow_table};
pub use questions::question_text;
pub(crate) use status::list_line;
pub use status::status_text;
pub use summary::summary;

#[cfg(test)]
mod tests;
