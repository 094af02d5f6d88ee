//! What other threads tell a worker, and how they wake it.

use std::io;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use mio::{Registry, Token, Waker};
use tidegate_netstack::FlowId;
use tidegate_platform::apps::{Owners, Unattributed};
use tidegate_platform::sockets::TcpConnection;
use tidegate_policy::App;

use super::Worker;
use crate::ask::Told;

/// A word from another thread.
#[derive(Clone, Debug)]
pub enum Message {
    /// The look-up thread has searched for this flow's program.
    Owners(FlowId, Result<Owners, Unattributed>),
    /// What a new policy asks of this flow's programs.
    Identified(FlowId, Arc<[App]>),
    /// The user has answered.
    Answered(Told),
    /// The host no longer has these addresses.
    AddressesGone(Arc<[IpAddr]>),
    /// Connections that the host had before our rules led their packets here.
    Older(Vec<TcpConnection>),
    /// The uplink takes packets of this size now.
    Mtu(u16),
    /// The machine was suspended, and is awake again.
    Slept,
    /// [`Shared`](crate::shared::Shared) has changed: another policy, or the end.
    Changed,
}

/// Reaches a worker from other threads.
#[derive(Clone, Debug)]
pub struct Handle {
    sender: Sender<Message>,
    waker: Arc<Waker>,
}

impl Handle {
    /// Says something to the worker; one that has ended does not hear it.
    pub fn tell(&self, message: Message) {
        if self.sender.send(message).is_ok()
            && let Err(error) = self.waker.wake()
        {
            tracing::error!(%error, "a worker could not be woken");
        }
    }
}

/// The worker's end.
#[derive(Debug)]
pub(super) struct Inbox {
    receiver: Receiver<Message>,
}

pub(super) fn open(registry: &Registry, token: Token) -> io::Result<(Inbox, Handle)> {
    let waker = Arc::new(Waker::new(registry, token)?);
    let (sender, receiver) = channel();
    Ok((Inbox { receiver }, Handle { sender, waker }))
}

impl Worker {
    /// Does what other threads asked for; breaks when one asked to stop.
    pub(super) fn read_inbox(&mut self, now: Instant) -> ControlFlow<()> {
        while let Ok(message) = self.inbox.receiver.try_recv() {
            match message {
                Message::Owners(flow, owners) => self.owners_found(now, flow, owners),
                Message::Identified(flow, apps) => self.identified(now, flow, apps),
                Message::Answered(told) => self.user_answered(now, told),
                Message::AddressesGone(gone) => self.addresses_gone(now, &gone),
                Message::Older(connections) => self.note_older(connections),
                Message::Mtu(mtu) => self.follow_mtu(mtu),
                Message::Slept => self.probe_upstreams(now),
                Message::Changed if self.shared.lifecycle.is_stopping() => {
                    return ControlFlow::Break(());
                }
                Message::Changed => self.adopt_policy(now),
            }
        }
        ControlFlow::Continue(())
    }
}
