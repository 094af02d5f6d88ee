//! What real programs see through Tidegate, one file of `tests/` for each concern.
//!
//! A scenario builds a [`Lab`](tidegate_lab::Lab), starts what it needs, runs programs there, and looks at what they saw.
//! `arrows` is of another kind: it holds the layout of the workspace itself.
