//! The parser of a socket's error queue, for the fuzz targets.

use super::linux::{extended_error, parse};

/// Control messages as `recvmsg` gives them.
pub fn error_report(control: &[u8]) {
    if let Some(data) = extended_error(control) {
        parse(data);
    }
}
