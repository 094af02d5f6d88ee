//! The daemon's end of the control socket, on a thread of its own.
//!
//! Bounded in every direction: clients at once, bytes of a request, the time a client may idle and may take to read.
//! Nothing that a client does reaches the data plane except through [`Shared`].

mod connection;
mod profiles;
mod questions;

use std::io;
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, oneshot};

use super::access::{Access, Membership, Peer};
use super::protocol::{FlowsRequest, Message, Refused, RefusedWhy, Reply, Request};
use super::socket::{BoundSocket, SocketError};
use super::status::{Profiles, Status};
use crate::ask::{Desk, RulesFile};
use crate::audit::Author;
use crate::quick::file::{self, EditError};
use crate::record::{FlowFilter, FlowRecord, Shown, Timestamp};
use crate::reload::Reloader;
use crate::shared::Shared;
use connection::{Connection, Hangup, Heard};
use questions::AnswerEnds;

/// Most clients at once.
const MOST_CLIENTS: usize = 32;

/// How long the accept loop rests when the system has no descriptor left.
const REST: Duration = Duration::from_millis(100);

/// How long a reload in progress may hold up the end.
const LAST_WORK: Duration = Duration::from_secs(1);

/// The socket, made but not served yet: clients that connect wait.
///
/// To give it to the group takes a privilege that the gateway drops before its first thread starts.
#[derive(Debug)]
pub struct ControlSocket {
    bound: BoundSocket,
    listener: StdListener,
}

/// The running server; dropping it hangs up and removes the socket.
#[derive(Debug)]
pub struct ControlServer {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    _ends: AnswerEnds,
    socket: BoundSocket,
}

/// What requests are answered from.
#[derive(Debug)]
struct Service {
    shared: Arc<Shared>,
    reloader: Arc<Reloader>,
    access: Access,
    config_file: PathBuf,
    desk: Arc<Desk>,
}

/// The thread of the server or its runtime could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the thread of the control socket: {0}")]
pub struct ServerError(#[source] io::Error);

impl ControlSocket {
    /// Listens at `path`, open to the user who runs us and `group`.
    ///
    /// # Errors
    /// The socket is taken or cannot be made.
    pub fn bind(path: &Path, group: &impl Membership) -> Result<Self, SocketError> {
        let (bound, listener) = BoundSocket::bind(path, group.gid())?;
        Ok(Self { bound, listener })
    }
}

impl ControlServer {
    /// Answers on `socket`: root, the user who runs us, and `group`.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(
        socket: ControlSocket,
        shared: Arc<Shared>,
        reloader: Arc<Reloader>,
        group: impl Membership + 'static,
    ) -> Result<Self, ServerError> {
        let ControlSocket {
            bound: socket,
            listener,
        } = socket;
        let config_file = reloader.source().file().to_owned();
        let access = Access::new(socket.owner(), group);
        let [_, rules] = reloader.source().folders();
        let file = reloader
            .source()
            .has_files()
            .then(|| RulesFile::in_folder(rules));
        let desk = Desk::new(Arc::clone(&shared), file);
        let ends = AnswerEnds::watch(&shared).map_err(ServerError)?;
        let service = Arc::new(Service {
            desk: Arc::new(desk),
            shared,
            reloader,
            access,
            config_file,
        });
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(ServerError)?;
        let serve = move || {
            runtime.block_on(async {
                tokio::select! {
                    () = accept_clients(listener, service) => {}
                    _ = stopped => {}
                }
            });
            runtime.shutdown_timeout(LAST_WORK);
        };
        let thread = thread::Builder::new()
            .name("control".to_owned())
            .spawn(serve)
            .map_err(ServerError)?;
        tracing::info!(path = %socket.path().display(), "control socket open");
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
            _ends: ends,
            socket,
        })
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        self.socket.path()
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        if matches!(ended, Some(Err(_))) {
            tracing::error!("the thread of the control socket panicked");
        }
    }
}

async fn accept_clients(listener: StdListener, service: Arc<Service>) {
    let listener = match UnixListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "the control socket cannot be served");
            return;
        }
    };
    let places = Arc::new(Semaphore::new(MOST_CLIENTS));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a control client could not be taken");
                tokio::time::sleep(REST).await;
                continue;
            }
        };
        // A client too many is answered while no place is held: it is told and let go, and cannot linger.
        let place = Arc::clone(&places).try_acquire_owned().ok();
        let service = Arc::clone(&service);
        if place.is_none() {
            turn_away(stream).await;
            continue;
        }
        tokio::spawn(async move {
            if let Err(Hangup(reason)) = service.serve(stream).await {
                tracing::debug!(reason, "control client gone");
            }
            drop(place);
        });
    }
}

/// One write into an empty socket buffer: it does not wait for the client.
async fn turn_away(stream: UnixStream) {
    let busy = format!("{MOST_CLIENTS} clients are connected already: close one, then try again");
    let reply = Reply::Refused(Refused::new(RefusedWhy::Busy, busy));
    if let Err(Hangup(reason)) = Connection::new(stream).send(&reply).await {
        tracing::debug!(reason, "control client gone before it was turned away");
    }
}

impl Service {
    async fn serve(&self, stream: UnixStream) -> Result<(), Hangup> {
        let credentials = stream.peer_cred();
        let mut client = Connection::new(stream);
        let peer = credentials.map_err(|_| Hangup("no credentials"))?;
        let author = Author::Client {
            uid: peer.uid(),
            pid: peer.pid(),
        };
        let peer = Peer {
            uid: peer.uid(),
            gid: peer.gid(),
        };
        if !self.access.admits(peer) {
            tracing::warn!(uid = peer.uid, "refused a control client");
            let message =
                "only root, the user who runs tidegate and the group `tidegate` may control it";
            return client
                .send_refusal(Refused::new(RefusedWhy::Forbidden, message))
                .await;
        }
        loop {
            let request = match client.read_line().await? {
                Heard::Line(line) => Message::parse(line),
                Heard::End => return Ok(()),
            };
            match request {
                Ok(message) => self.answer(&mut client, message.request, author).await?,
                Err(refused) => return client.send_refusal(refused).await,
            }
        }
    }

    async fn answer(
        &self,
        client: &mut Connection,
        request: Request,
        author: Author,
    ) -> Result<(), Hangup> {
        match request {
            Request::Status => {
                let status = Status::of(&self.shared, self.config_file.clone());
                client.send(&Reply::Status(Box::new(status))).await
            }
            Request::Flows(wanted) => self.answer_flows(client, wanted).await,
            Request::Confirm => match self.shared.lifecycle.confirm() {
                Ok(()) => {
                    tracing::info!("the trial was confirmed");
                    client.send(&Reply::Done).await
                }
                Err(error) => client.send_failure(error.to_string()).await,
            },
            Request::Reload => self.answer_reload(client, author).await,
            Request::Quick(rule) => {
                let seen = self.executables_called(&rule.app);
                let now = Timestamp::now();
                self.answer_edit(client, author, move |text| {
                    let added = rule.text(&seen, now)?;
                    let text = file::with(text, &added)?;
                    Ok((text, vec![rule.name(now)]))
                })
                .await
            }
            Request::Undo { count } => {
                let edit = move |text: &str| file::without_newest(text, count);
                self.answer_edit(client, author, edit).await
            }
            Request::Questions { follow } => self.answer_questions(client, follow).await,
            Request::Answer { question, answer } => {
                self.take_answer(client, question, answer, author).await
            }
            Request::Profiles => {
                let profiles = Profiles::of(&self.shared);
                client.send(&Reply::Profiles(profiles)).await
            }
            Request::UseProfile { name } => match profiles::choose(&self.shared, &name, author) {
                Ok(profiles) => client.send(&Reply::Profiles(profiles)).await,
                Err(message) => client.send_failure(message).await,
            },
            Request::UpdateLists(name) => self.answer_update(client, name, author).await,
        }
    }

    async fn answer_edit(
        &self,
        client: &mut Connection,
        author: Author,
        edit: impl FnOnce(&str) -> Result<(String, Vec<String>), EditError> + Send + 'static,
    ) -> Result<(), Hangup> {
        let reloader = Arc::clone(&self.reloader);
        let edited =
            tokio::task::spawn_blocking(move || reloader.edit_quick_rules(author, edit)).await;
        match edited {
            Ok(Ok((generation, rules))) => {
                client
                    .send(&Reply::RulesChanged { generation, rules })
                    .await
            }
            Ok(Err(error)) => client.send_failure(error.to_string()).await,
            Err(_) => {
                client
                    .send_failure("the change was cut short: see the log".to_owned())
                    .await
            }
        }
    }

    /// The executables of this name that flows were seen of.
    fn executables_called(&self, name: &str) -> Vec<PathBuf> {
        let records = self.shared.flows.records();
        let apps = records
            .into_iter()
            .flat_map(|record| record.app.into_iter().chain(record.other_owners));
        apps.filter(|app| app.name == name)
            .map(|app| app.path)
            .collect()
    }

    async fn answer_reload(&self, client: &mut Connection, author: Author) -> Result<(), Hangup> {
        let reloader = Arc::clone(&self.reloader);
        let reloaded = tokio::task::spawn_blocking(move || reloader.reload_by(author)).await;
        match reloaded {
            Ok(Ok(generation)) => client.send(&Reply::Reloaded { generation }).await,
            Ok(Err(error)) => client.send_failure(error.to_string()).await,
            Err(_) => {
                client
                    .send_failure("the reload was cut short: see the log".to_owned())
                    .await
            }
        }
    }

    async fn answer_update(
        &self,
        client: &mut Connection,
        name: Option<String>,
        author: Author,
    ) -> Result<(), Hangup> {
        let shared = Arc::clone(&self.shared);
        let updated =
            tokio::task::spawn_blocking(move || shared.library.update(name, author)).await;
        match updated {
            Ok(Ok(state)) => client.send(&Reply::Library(Box::new(state))).await,
            Ok(Err(error)) => client.send_failure(error.to_string()).await,
            Err(_) => {
                client
                    .send_failure("the update was cut short: see the log".to_owned())
                    .await
            }
        }
    }

    async fn answer_flows(
        &self,
        client: &mut Connection,
        wanted: FlowsRequest,
    ) -> Result<(), Hangup> {
        let filter = match FlowFilter::new(wanted.app.as_deref(), wanted.verdict) {
            Ok(filter) => filter,
            Err(refusal) => return client.send_failure(refusal.message).await,
        };
        // Subscribed first: a flow between the two steps is told twice rather than never.
        let subscription = wanted.follow.then(|| self.shared.flows.subscribe());
        let mut records = self.shared.flows.records();
        records.retain(|record| filter.passes(record));
        if wanted.identity {
            records = self.identify(records).await;
        }
        for record in records {
            client.queue(&flow(record)).await?;
        }
        let Some(mut subscription) = subscription else {
            return client.send(&Reply::Done).await;
        };
        client.flush().await?;
        loop {
            let record = tokio::select! {
                record = subscription.next() => record,
                hangup = client.hung_up() => return Err(hangup),
            };
            let Some(record) = record else { return Ok(()) };
            let missed = subscription.take_missed();
            if missed > 0 {
                client.queue(&Reply::Missed(missed)).await?;
            }
            if filter.passes(&record) {
                let mut records = vec![FlowRecord::clone(&record)];
                if wanted.identity {
                    records = self.identify(records).await;
                }
                for record in records {
                    client.queue(&flow(record)).await?;
                }
            }
            client.flush().await?;
        }
    }
}

impl Service {
    /// The records with what identifies their programs. It takes reading, which belongs on another thread.
    async fn identify(&self, records: Vec<FlowRecord>) -> Vec<FlowRecord> {
        let identities = Arc::clone(&self.shared.identities);
        let mut completed = records.clone();
        let complete = move || {
            let mut shown = Shown::default();
            for record in &mut completed {
                shown.complete(record, &identities);
            }
            completed
        };
        tokio::task::spawn_blocking(complete)
            .await
            .unwrap_or(records)
    }
}

fn flow(record: FlowRecord) -> Reply {
    Reply::Flow(Box::new(record))
}
