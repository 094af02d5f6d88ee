//! Names what the target system's `platform` crate offers, so that the program's code asks for abilities, not for systems.
//!
//! - `captures`: host and exec capture with everything they need. Without it the commands that capture are absent.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(captures)");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux") {
        println!("cargo::rustc-cfg=captures");
    }
}
