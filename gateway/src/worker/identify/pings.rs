//! Whose pings are, where the host has more ping sockets than a worker has time to look through.
//!
//! The kernel tells of them by a table of all, and whoever holds a hundred thousand makes that table long. So a thread of its
//! own reads it, once for all that wait, and then leaves the processor to others for as long.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Instant;

use tidegate_netstack::{FlowId, FlowKey};
use tidegate_platform::apps::{
    DiagError, Owners, PingSockets, Processes, SocketInfo, Unattributed,
};

use super::Known;
use crate::worker::inbox::{Handle, Message};

/// Searches that wait. Flows beyond them are judged without a program.
const MOST_SEARCHES: usize = 4_096;

/// The thread.
#[derive(Debug)]
pub(super) struct Pings {
    searches: SyncSender<Search>,
}

struct Search {
    flow: FlowId,
    key: FlowKey,
    reply_to: Handle,
}

impl Pings {
    /// # Errors
    /// The system gives no thread.
    pub(super) fn start(sockets: PingSockets, processes: Arc<Processes>) -> io::Result<Self> {
        let (searches, inbox) = sync_channel(MOST_SEARCHES);
        thread::Builder::new()
            .name("look-up-ping".to_owned())
            .spawn(move || serve(&inbox, &sockets, &processes))?;
        Ok(Self { searches })
    }

    pub(super) fn find(&self, flow: FlowId, key: &FlowKey, handle: &Handle) -> Known {
        let search = Search {
            flow,
            key: *key,
            reply_to: handle.clone(),
        };
        match self.searches.try_send(search) {
            Ok(()) => Known::Later,
            // Whoever began so many may want just that.
            Err(TrySendError::Full(_)) => Known::Now(Err(Unattributed::Hidden)),
            Err(TrySendError::Disconnected(_)) => Known::Now(Err(Unattributed::Failed)),
        }
    }
}

fn serve(inbox: &Receiver<Search>, sockets: &PingSockets, processes: &Processes) {
    while let Ok(first) = inbox.recv() {
        let begun = Instant::now();
        let searches: Vec<Search> = std::iter::once(first).chain(inbox.try_iter()).collect();
        let pings = searches
            .iter()
            .map(|search| (search.key.local.0, search.key.remote.0));
        let found = sockets.find(&pings.collect::<Vec<_>>());
        for (search, socket) in searches.into_iter().zip(found) {
            let owners = owners(processes, socket);
            search.reply_to.tell(Message::Owners(search.flow, owners));
        }
        // However long it took: half a processor at most.
        thread::sleep(begun.elapsed());
    }
}

fn owners(
    processes: &Processes,
    socket: Result<Option<SocketInfo>, DiagError>,
) -> Result<Owners, Unattributed> {
    match socket {
        Ok(Some(socket)) => {
            let owners = processes.owners_somewhere(&socket);
            owners.map_err(|reason| socket.why_unseen(reason))
        }
        Ok(None) => Err(Unattributed::NoSocket),
        Err(error) => {
            tracing::debug!(%error, "the socket of a ping could not be looked up");
            Err(Unattributed::from(&error))
        }
    }
}
