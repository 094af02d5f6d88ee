//! The signals of the daemon: SIGHUP reads the configuration again, SIGINT and SIGTERM end the gateway in good order.

use std::io;
use std::sync::Arc;
use std::thread;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::audit::Author;
use crate::reload::Reloader;
use crate::shared::Shared;

/// Takes the signals over for the rest of the program's life.
///
/// # Errors
/// The system gives no thread or no descriptor.
pub fn take(shared: Arc<Shared>, reloader: Arc<Reloader>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let signals = runtime.block_on(async { Signals::register() })?;
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || runtime.block_on(signals.obey(&shared, &reloader)))?;
    Ok(())
}

struct Signals {
    hangup: Signal,
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn register() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn obey(mut self, shared: &Shared, reloader: &Reloader) {
        loop {
            tokio::select! {
                _ = self.hangup.recv() => {
                    // What went wrong was logged and noted for `status`.
                    let _ = reloader.reload_by(Author::Signal);
                }
                _ = self.interrupt.recv() => shared.request_shutdown("SIGINT"),
                _ = self.terminate.recv() => shared.request_shutdown("SIGTERM"),
            }
        }
    }
}
