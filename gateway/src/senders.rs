//! Having the kernel note who sends datagrams, where it is wanted and allowed. Without it the gateway works as well, but for a
//! program that sends one and is gone at once.

use std::ops::RangeInclusive;
use std::os::fd::BorrowedFd;

use tidegate_platform::apps::{Missing, Senders, SendersError};

use crate::config::Ebpf;
use crate::shared::{EbpfStatus, MissingPart};

/// Attaches what notes them, while the privileges are there that it takes. `network` is any socket of the network namespace
/// whose senders are wanted; sockets that carry a bit of `without_mark` are left out. Which of them answer on the ports
/// `answering` is noted too. `None` where it is turned off.
pub fn attach(
    wish: Ebpf,
    network: BorrowedFd<'_>,
    without_mark: u32,
    answering: Option<RangeInclusive<u16>>,
) -> Option<Result<Senders, SendersError>> {
    match wish {
        Ebpf::Auto => Some(Senders::attach(network, without_mark, answering)),
        Ebpf::Off => None,
    }
}

/// What can be used of it with the privileges that are left, and what is to be said of it.
pub fn usable(attached: Option<Result<Senders, SendersError>>) -> (Option<Senders>, EbpfStatus) {
    let checked = |attached: Result<Senders, SendersError>| {
        attached.and_then(|senders| senders.check().map(|()| senders))
    };
    match attached.map(checked) {
        None => (None, EbpfStatus::Off),
        Some(Ok(senders)) => {
            let status = status(senders.missing());
            (Some(senders), status)
        }
        Some(Err(error)) => {
            tracing::info!("eBPF cannot be used: {error}");
            (None, EbpfStatus::Refused(error.to_string()))
        }
    }
}

fn status(missing: &[Missing]) -> EbpfStatus {
    for Missing { part, error } in missing {
        tracing::info!(?part, "eBPF can be used in part only: {error}");
    }
    let missing = missing.iter().map(|Missing { part, error }| MissingPart {
        part: *part,
        error: error.to_string(),
    });
    let missing: Vec<_> = missing.collect();
    if missing.is_empty() {
        EbpfStatus::On
    } else {
        EbpfStatus::Partly(missing)
    }
}
