//! Names once what the target system lets the gateway do, so that no other file of this crate asks for a system by name.

use std::io::{self, Write};

fn main() -> io::Result<()> {
    let mut cargo = io::stdout().lock();
    writeln!(cargo, "cargo::rerun-if-changed=build.rs")?;
    // Programs' traffic can be captured: the commands that do so, and their data plane, are there.
    writeln!(cargo, "cargo::rustc-check-cfg=cfg(capture)")?;
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        writeln!(cargo, "cargo::rustc-cfg=capture")?;
    }
    Ok(())
}
