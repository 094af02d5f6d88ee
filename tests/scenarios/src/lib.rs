//! Scenarios that real programs drive; see `tests/`.
