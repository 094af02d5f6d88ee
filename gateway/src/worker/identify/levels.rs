//! What identifies programs beyond their paths and users, where rules ask for it.
//!
//! Some of it takes as long as reading the executable. So a thread of its own finds it while the flow is held, and is not
//! there before a policy asks. What no rule asks for is not looked at here.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use tidegate_netstack::FlowId;
use tidegate_platform::apps::{Identities, Owners, Unattributed};
use tidegate_policy::{App, Fact, Levels};

use crate::worker::inbox::{Handle, Message};

/// Most new flows' questions that may wait. A flow that has ended leaves its question behind.
const MOST_WAITING: usize = 8192;

/// The thread, once it was needed.
#[derive(Debug)]
pub(in crate::worker) struct LevelFinder {
    identities: Arc<Identities>,
    reply_to: Handle,
    questions: Option<Sender<Question>>,
    /// New flows' questions that wait. Those of judged flows are as many as these at each new policy.
    waiting: Arc<AtomicUsize>,
}

/// Which levels of a flow's programs are asked for.
#[derive(Debug)]
struct Question {
    flow: FlowId,
    about: About,
    wanted: Levels,
}

/// For what flow.
#[derive(Debug)]
pub(in crate::worker) enum About {
    /// One whose programs were just found.
    New(Owners),
    /// One that was judged by an older policy.
    Judged(Arc<[App]>),
}

impl About {
    fn apps(&mut self) -> &mut Arc<[App]> {
        match self {
            Self::New(owners) => &mut owners.apps,
            Self::Judged(apps) => apps,
        }
    }

    fn message(self, flow: FlowId) -> Message {
        match self {
            Self::New(owners) => Message::Owners(flow, Ok(owners)),
            Self::Judged(apps) => Message::Identified(flow, apps),
        }
    }
}

/// Whether a policy that asks for these levels cannot judge these programs yet.
pub(in crate::worker) fn lack(apps: &[App], wanted: Levels) -> bool {
    !wanted.is_empty()
        && apps
            .iter()
            .any(|app| !wanted.without(app.identity.looked_at()).is_empty())
}

impl LevelFinder {
    pub(in crate::worker) fn new(identities: Arc<Identities>, reply_to: Handle) -> Self {
        Self {
            identities,
            reply_to,
            questions: None,
            waiting: Arc::default(),
        }
    }

    /// Asks about a flow's programs; the worker is told in a message. Where there is no thread to ask, that message says of a new
    /// flow that its program is lost, of another that no more is known.
    pub(in crate::worker) fn ask(&mut self, flow: FlowId, about: About, wanted: Levels) {
        if matches!(about, About::New(_))
            && self.waiting.fetch_add(1, Ordering::Relaxed) >= MOST_WAITING
        {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            // As what a flood has pushed out: it passes only what no rule about programs could refuse.
            let lost = Err(Unattributed::NoteLost);
            return self.reply_to.tell(Message::Owners(flow, lost));
        }
        let mut question = Question {
            flow,
            about,
            wanted,
        };
        if self.questions.is_none() {
            let waiting = Arc::clone(&self.waiting);
            match start(Arc::clone(&self.identities), self.reply_to.clone(), waiting) {
                Ok(questions) => self.questions = Some(questions),
                Err(error) => tracing::error!(%error, "no thread to identify programs with"),
            }
        }
        if let Some(questions) = &self.questions {
            match questions.send(question) {
                Ok(()) => return,
                Err(returned) => question = returned.0,
            }
            self.questions = None;
            self.waiting = Arc::default();
        }
        let Question { mut about, .. } = question;
        if matches!(about, About::New(_)) {
            let lost = Err(Unattributed::NoteLost);
            return self.reply_to.tell(Message::Owners(flow, lost));
        }
        let apps = about.apps();
        *apps = apps.iter().map(|app| unknown(app, wanted)).collect();
        self.reply_to.tell(about.message(flow));
    }
}

fn start(
    identities: Arc<Identities>,
    reply_to: Handle,
    waiting: Arc<AtomicUsize>,
) -> io::Result<Sender<Question>> {
    let (questions, inbox) = channel();
    thread::Builder::new()
        .name("identify".to_owned())
        .spawn(move || serve(&inbox, &identities, &reply_to, &waiting))?;
    Ok(questions)
}

fn serve(
    inbox: &Receiver<Question>,
    identities: &Identities,
    reply_to: &Handle,
    waiting: &AtomicUsize,
) {
    while let Ok(question) = inbox.recv() {
        let Question {
            flow,
            mut about,
            wanted,
        } = question;
        if matches!(about, About::New(_)) {
            waiting.fetch_sub(1, Ordering::Relaxed);
        }
        let apps = about.apps();
        *apps = apps
            .iter()
            .map(|app| identities.complete(app, wanted))
            .collect();
        reply_to.tell(about.message(flow));
    }
}

fn unknown(app: &App, wanted: Levels) -> App {
    let mut app = app.clone();
    for level in wanted.without(app.identity.looked_at()).iter() {
        app.identity.note(level, Fact::Unknown);
    }
    app
}
