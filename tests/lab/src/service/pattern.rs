//! Bytes that a receiver can check: no piece of them repeats, so a loss, a swap or a copy changes the sum.

use std::io::{self, Read};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

/// Length of the stretch that differs from the next only by its number.
const STRETCH: usize = 64 * 1024;

/// So many bytes, always the same ones.
#[derive(Debug)]
pub struct Pattern {
    stretch: Box<[u8]>,
    position: u64,
    length: u64,
}

impl Pattern {
    /// The first `length` bytes of the pattern.
    pub fn new(length: u64) -> Self {
        let mut state: u32 = 0x2545_f491;
        // xorshift32 (Marsaglia 2003): bytes that do not compress or repeat, made quickly.
        let stretch = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state.to_le_bytes()[0]
        });
        Self {
            stretch: stretch.take(STRETCH).collect(),
            position: 0,
            length,
        }
    }
}

impl Read for Pattern {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let stretch_length = u64::try_from(STRETCH).map_err(io::Error::other)?;
        let number = (self.position / stretch_length).to_le_bytes();
        self.stretch[..number.len()].copy_from_slice(&number);
        let start = usize::try_from(self.position % stretch_length).map_err(io::Error::other)?;
        let left = usize::try_from(self.length - self.position).unwrap_or(usize::MAX);
        let count = (STRETCH - start).min(left).min(buffer.len());
        buffer[..count].copy_from_slice(&self.stretch[start..start + count]);
        self.position += u64::try_from(count).map_err(io::Error::other)?;
        Ok(count)
    }
}

/// What `sha256sum` says of these bytes, in hexadecimal.
pub fn sha256(mut bytes: impl Read) -> Result<String> {
    let mut program = Command::new("sha256sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start sha256sum")?;
    if let Some(mut input) = program.stdin.take() {
        io::copy(&mut bytes, &mut input)?;
    }
    let output = program.wait_with_output()?;
    let text = String::from_utf8(output.stdout)?;
    Ok(text
        .split_whitespace()
        .next()
        .context("sha256sum printed nothing")?
        .to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pattern_has_its_length_and_no_two_stretches_are_equal() {
        let mut bytes = Vec::new();
        Pattern::new(200_000)
            .read_to_end(&mut bytes)
            .expect("a pattern cannot fail");
        assert_eq!(bytes.len(), 200_000);
        assert_ne!(bytes[..STRETCH], bytes[STRETCH..2 * STRETCH]);
    }

    #[test]
    fn the_pattern_does_not_depend_on_how_it_is_read() {
        let mut whole = Vec::new();
        Pattern::new(150_000)
            .read_to_end(&mut whole)
            .expect("a pattern cannot fail");
        let mut pieces = Vec::new();
        let mut pattern = Pattern::new(150_000);
        let mut piece = [0; 997];
        while let Ok(count @ 1..) = pattern.read(&mut piece) {
            pieces.extend_from_slice(&piece[..count]);
        }
        assert_eq!(whole, pieces);
    }

    #[test]
    fn the_sum_is_the_one_of_the_standard() {
        // FIPS 180-2, appendix B.1.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(&b"abc"[..]).expect("sha256sum runs"), expected);
    }
}
