//! What real programs see through Tidegate, one file of `tests/` for each concern.
//!
//! A scenario builds a [`Lab`](tidegate_lab::Lab), starts what it needs, runs programs there, and looks at what they saw.
//! What must hold under both captures runs under both: `exec::NAME` and `host::NAME` are one function. Files whose names
//! begin with a capture hold what only that one has.
//!
//! `arrows` is of another kind: it holds the layout of the workspace itself.
