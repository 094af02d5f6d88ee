//! The life of one flow: who made it, may it pass, is the way open, until it ends.
//!
//! Pure: [`Flow`] takes what became known (`handle_*`) and says what to do next ([`Flow::poll_action`]).
