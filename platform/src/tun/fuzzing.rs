//! The parser of what a TUN device says of a packet, for the fuzz targets.

use super::virtio::{LEN, decode, encode};

/// A header and the packet behind it. What we write for a packet reads back as what was wanted.
pub fn device_header(bytes: &[u8]) {
    let Some((header, packet)) = bytes.split_first_chunk::<LEN>() else {
        return;
    };
    let Ok(offload) = decode(*header) else {
        return;
    };
    if let Ok(header) = encode(packet, offload) {
        let again = decode(header).map(|offload| offload.segmentation);
        assert_eq!(again, Ok(offload.segmentation));
    }
}
