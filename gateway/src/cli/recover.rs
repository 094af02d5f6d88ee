//! `tidegate recover`: what a dead instance left behind on the host is undone.

use std::process::ExitCode;

pub(super) fn main() -> anyhow::Result<ExitCode> {
    anyhow::bail!("the host plan is not part of this branch")
}
