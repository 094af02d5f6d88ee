//! The far end: closes at once, echoes, or carries as much as it can.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::thread;

use anyhow::{Context, Result};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::datagrams::{self, Handed};
use super::{
    BULK_PORT, CLOSE_PORT, DATAGRAMS_PORT, ECHO_PORT, END_PORTS, RUNS_PORT, bulk, control, listen,
};

/// Threads that accept and close: more than a client keeps busy on two processors.
const CLOSERS: usize = 4;
const CHUNK: usize = 64 << 10;

pub(super) fn serve() -> Result<()> {
    let closing = listen(CLOSE_PORT)?;
    for _ in 0..CLOSERS {
        let closing = closing.try_clone()?;
        thread::spawn(move || close(&closing));
    }
    let carrying = bulk::Server::new(listen(BULK_PORT)?)?;
    control::listen(carrying.arrived().clone())?;
    for (port, handed) in [
        (DATAGRAMS_PORT, Handed::Singly),
        (RUNS_PORT, Handed::InRuns),
    ] {
        let arrived = carrying.arrived().clone();
        thread::spawn(move || end_with(datagrams::serve(port, handed, &arrived)));
    }
    thread::spawn(move || end_with(carrying.serve()));
    let echoing = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, ECHO_PORT))?;
    thread::spawn(move || end_with(echo_datagrams(&echoing)));
    let echoing: Result<Vec<_>> = std::iter::once(ECHO_PORT)
        .chain(END_PORTS)
        .map(listen)
        .collect();
    let echoing = echoing?;
    println!("ready");
    echo(echoing)
}

/// Ends the program, and so whatever is measured, where a thread of it could not go on.
fn end_with(result: Result<()>) {
    if let Err(error) = result {
        println!("{error:#}");
        std::process::exit(1);
    }
}

fn close(listener: &TcpListener) {
    // A client that gave up before it was accepted is none of ours.
    listener.incoming().for_each(drop);
}

fn echo_datagrams(socket: &UdpSocket) -> Result<()> {
    let mut datagram = [0; CHUNK];
    loop {
        let (length, from) = socket.recv_from(&mut datagram).context("cannot receive")?;
        // An answer that cannot be sent is one that is lost.
        drop(socket.send_to(&datagram[..length], from));
    }
}

/// Serves any number of flows on one thread: ten thousand of them idle must cost nothing.
fn echo(listeners: Vec<TcpListener>) -> Result<()> {
    let mut poll = Poll::new()?;
    let mut waiting = Vec::new();
    for listener in listeners {
        listener.set_nonblocking(true)?;
        let mut listener = mio::net::TcpListener::from_std(listener);
        let token = Token(waiting.len());
        poll.registry()
            .register(&mut listener, token, Interest::READABLE)?;
        waiting.push(listener);
    }
    let mut flows: HashMap<usize, Flow> = HashMap::new();
    let mut next = waiting.len();
    let mut events = Events::with_capacity(1_024);
    loop {
        poll.poll(&mut events, None).context("cannot wait")?;
        for event in &events {
            let Token(id) = event.token();
            let Some(listener) = waiting.get(id) else {
                if let Some(flow) = flows.get_mut(&id)
                    && flow.turn().is_err()
                {
                    flows.remove(&id);
                }
                continue;
            };
            while let Ok((mut stream, _)) = listener.accept() {
                stream.set_nodelay(true)?;
                let interest = Interest::READABLE | Interest::WRITABLE;
                poll.registry()
                    .register(&mut stream, Token(next), interest)?;
                let waiting = Vec::new();
                flows.insert(next, Flow { stream, waiting });
                next += 1;
            }
        }
    }
}

struct Flow {
    stream: TcpStream,
    /// Read and not sent back yet.
    waiting: Vec<u8>,
}

impl Flow {
    /// Sends back what there is; an error once the client has left.
    fn turn(&mut self) -> io::Result<()> {
        let mut chunk = [0; CHUNK];
        loop {
            while !self.waiting.is_empty() {
                match self.stream.write(&self.waiting) {
                    Ok(sent) => drop(self.waiting.drain(..sent)),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => self.waiting.extend_from_slice(&chunk[..read]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.waiting = Vec::new();
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }
}
