//! Numbers that nobody outside can guess.

use std::fs::File;
use std::io::{self, Read};

/// 64 random bits of the operating system.
///
/// # Errors
/// The system's random source cannot be read.
pub fn seed() -> io::Result<u64> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}
