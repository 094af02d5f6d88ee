//! Asks the server what has arrived, beside the measured way: on the loopback of the server's machine.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Context, Result, ensure};
use mio::Waker;
use tidegate_lab::Lab;

use super::pump::Count;

const AT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 5_304);
/// Questions, a line each.
const FORGET: &str = "forget";
const COUNTS: &str = "counts";

/// What each stream has brought to the server, in the order in which they came; of datagrams, what it has received or sent.
#[derive(Clone, Debug)]
pub(super) struct Arrived {
    counts: Arc<Mutex<Vec<Count>>>,
    /// Wakes the server to close all its streams.
    close: Arc<Waker>,
}

impl Arrived {
    pub(super) fn new(close: Waker) -> Self {
        Self {
            counts: Arc::default(),
            close: Arc::new(close),
        }
    }

    pub(super) fn add(&self, count: Count) {
        self.lock().push(count);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Count>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, question: &str) -> String {
        let mut counts = self.lock();
        if question == FORGET {
            counts.clear();
            if let Err(error) = self.close.wake() {
                return error.to_string();
            }
        }
        let counts = counts.iter().map(|count| count.load(Ordering::Relaxed));
        counts.map(|count| format!("{count} ")).collect()
    }
}

/// Answers whoever asks, on a thread.
pub(super) fn listen(arrived: Arrived) -> Result<()> {
    let listener = TcpListener::bind(AT).context("cannot listen for questions")?;
    thread::spawn(move || {
        for asker in listener.incoming().flatten() {
            let mut answers = &asker;
            for question in BufReader::new(&asker).lines().map_while(Result::ok) {
                // An asker that left asks no more.
                drop(writeln!(answers, "{}", arrived.answer(&question)));
            }
        }
    });
    Ok(())
}

/// The asking end.
#[derive(Debug)]
pub(crate) struct Control(TcpStream);

impl Control {
    pub(super) fn connect(lab: &Lab) -> Result<Self> {
        let stream = lab.server.inside(|| TcpStream::connect(AT))?;
        Ok(Self(stream.context("cannot reach the server's control")?))
    }

    /// Ends the streams of the measurement before, whatever a gateway made of their clients' end, and forgets them.
    pub(crate) fn forget(&self) -> Result<()> {
        ensure!(
            self.ask(FORGET)?.is_empty(),
            "the server does not forget its streams"
        );
        Ok(())
    }

    /// What each stream has brought to the server.
    pub(crate) fn counts(&self) -> Result<Vec<u64>> {
        self.ask(COUNTS)
    }

    fn ask(&self, question: &str) -> Result<Vec<u64>> {
        writeln!(&self.0, "{question}").context("cannot ask the server")?;
        let mut answer = String::new();
        BufReader::new(&self.0)
            .read_line(&mut answer)
            .context("the server does not answer")?;
        numbers(answer.split_whitespace())
    }
}

/// Counts, as both ends write them.
pub(crate) fn numbers<'t>(words: impl Iterator<Item = &'t str>) -> Result<Vec<u64>> {
    let numbers: Result<_, _> = words.map(str::parse).collect();
    numbers.context("a count is no number")
}
