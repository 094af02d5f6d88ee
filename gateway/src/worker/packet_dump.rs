//! Every packet that crosses the device, in a file that packet analysers read.
//!
//! The format is pcap with times in nanoseconds and bare IP packets (`LINKTYPE_RAW`), as libpcap and tcpdump document it
//! (pcap-savefile(5)). Packets are as the device has them: segments of one flow may stand as one packet of up to 64 KiB,
//! and what is on its way out of or into this host has no checksum yet.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::terminal;

/// pcap with nanoseconds, in this machine's byte order.
const MAGIC: u32 = 0xa1b2_3c4d;
const VERSION: [u16; 2] = [2, 4];
/// The largest packet there may be.
const SNAP_LENGTH: u32 = 262_144;
/// `LINKTYPE_RAW`: an IPv4 or IPv6 header comes first.
const LINK_TYPE: u32 = 101;
/// What is kept before it is written.
const BUFFER: usize = 256 << 10;

/// A file of packets. One thread notes them; each waits until it is written, so none is missing.
#[derive(Debug)]
pub struct PacketDump {
    path: PathBuf,
    file: RefCell<Option<BufWriter<File>>>,
}

impl PacketDump {
    /// An empty dump in a new file, or in place of what the file held.
    ///
    /// # Errors
    /// The file cannot be made or written.
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut file = BufWriter::with_capacity(BUFFER, File::create(path)?);
        file.write_all(&header())?;
        file.flush()?;
        Ok(Self {
            path: path.to_owned(),
            file: RefCell::new(Some(file)),
        })
    }

    /// Notes one packet, which lies in several parts. When the file takes no more that is said once, and the dump ends.
    pub fn note(&self, parts: &[&[u8]]) {
        self.with_file(|file| {
            file.write_all(&record_header(
                SystemTime::now(),
                parts.iter().map(|part| part.len()).sum(),
            ))?;
            parts.iter().try_for_each(|part| file.write_all(part))
        });
    }

    /// Hands what was noted to the file, for those who read it meanwhile.
    pub fn flush(&self) {
        self.with_file(Write::flush);
    }

    fn with_file(&self, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) {
        let mut slot = self.file.borrow_mut();
        if let Some(file) = slot.as_mut()
            && let Err(error) = write(file)
        {
            *slot = None;
            terminal::complain(&format!(
                "{}: {error}; the packets from here on are missing",
                self.path.display()
            ));
        }
    }
}

impl Drop for PacketDump {
    fn drop(&mut self) {
        self.flush();
    }
}

fn header() -> [u8; 24] {
    let mut header = [0; 24];
    header[..4].copy_from_slice(&MAGIC.to_ne_bytes());
    header[4..6].copy_from_slice(&VERSION[0].to_ne_bytes());
    header[6..8].copy_from_slice(&VERSION[1].to_ne_bytes());
    // Time zone and accuracy are zero in all files.
    header[16..20].copy_from_slice(&SNAP_LENGTH.to_ne_bytes());
    header[20..].copy_from_slice(&LINK_TYPE.to_ne_bytes());
    header
}

fn record_header(at: SystemTime, len: usize) -> [u8; 16] {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    // The format's seconds end in 2106; a packet of the device has at most 64 KiB.
    let seconds = u32::try_from(since.as_secs()).unwrap_or(u32::MAX);
    let len = u32::try_from(len).unwrap_or(u32::MAX);
    let mut header = [0; 16];
    for (place, value) in header
        .chunks_exact_mut(4)
        .zip([seconds, since.subsec_nanos(), len, len])
    {
        place.copy_from_slice(&value.to_ne_bytes());
    }
    header
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::test_folder::TestFolder;

    #[test]
    fn packets_stand_behind_their_time_and_length() {
        let at = UNIX_EPOCH + Duration::new(1_700_000_000, 5);
        let header = record_header(at, 1500);
        let words: Vec<u32> = header
            .chunks_exact(4)
            .map(|word| u32::from_ne_bytes(word.try_into().unwrap()))
            .collect();
        assert_eq!(words, [1_700_000_000, 5, 1500, 1500]);
    }

    #[test]
    fn the_file_holds_every_packet_whole() {
        let folder = TestFolder::new();
        let path = folder.path().join("packets.pcap");
        let dump = PacketDump::create(&path).unwrap();
        dump.note(&[b"head", b"payload"]);
        dump.note(&[b"x"]);
        dump.flush();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes[..24], header());
        assert_eq!(bytes.len(), 24 + 16 + 11 + 16 + 1);
        assert_eq!(bytes[24 + 16..][..11], *b"headpayload");
        assert_eq!(bytes.last(), Some(&b'x'));
    }
}
