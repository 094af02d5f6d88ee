//! The network lab: a host, a router and a server in namespaces of their own, for tests and benchmarks.
//!
//! [`Lab::new`] makes three [`Namespace`]s and the links between them; everything is gone when it is dropped, and nothing
//! outside is ever touched. A test starts [services](service) on the server, the gateway on the host
//! ([`Lab::tidegate`], [`Lab::exec`]), then runs real programs there and looks at what they saw:
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use tidegate_lab::{Lab, service};
//!
//! let lab = Lab::new()?;
//! let _web = service::Http::start(&lab.server, 80)?;
//! let tidegate = lab.tidegate("[[rule]]\nname = \"no\"\napp = \"**/wget\"\naction = \"block\"\n")?;
//! let size = lab.host.bash("curl -sS http://203.0.113.10/bytes/1000 | wc -c")?.success()?;
//! assert_eq!(size, "1000");
//! assert_eq!(tidegate.flow_to("203.0.113.10:80")?["app"]["name"], "curl");
//! # Ok(())
//! # }
//! ```
//!
//! What must hold under both [captures](Capture) is written once, on a [`Session`], and [run twice](under_both_captures).
//!
//! Namespaces are held by descriptors only, without a name and without a process, so the kernel removes them with the
//! process that made them, however it ends. Needs root.
//!
//! What this crate is *not*: part of the program. It is the one place besides `platform` with `unsafe`, all of it in one
//! private file.

mod capture;
mod compared;
mod containers;
mod daemon;
mod endpoint;
mod evidence;
mod exec;
mod host_view;
mod impaired_link;
mod impairment;
mod killed;
mod long_way;
mod namespace;
mod network;
mod network_state;
mod outcome;
mod payload;
mod process;
mod python;
pub mod service;
mod session;
mod shell;
mod stale;
mod sys;
mod terminal;
mod wait;

pub use capture::Capture;
pub use compared::Compared;
pub use containers::{Containers, Hidden};
pub use daemon::Daemon;
pub use endpoint::endpoint;
pub use exec::Exec;
pub use impaired_link::ImpairedLink;
pub use impairment::{Counts, Direction, Impairment, Rate, Share};
pub use killed::Step;
pub use long_way::LongWay;
pub use namespace::{Namespace, User};
pub use network::{AUTHORITIES, Lab, address};
pub use network_state::NetworkState;
pub use outcome::Outcome;
pub use process::{Background, Finished};
pub use session::Session;
pub use shell::Job;
pub use terminal::Terminal;
pub use wait::wait_until;
