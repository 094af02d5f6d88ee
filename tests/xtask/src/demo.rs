//! The demonstration behind `cargo xtask run`: real programs, one rule, no internet.
//!
//! A small web and echo server listens on this host's loopback. Programs run inside `tidegate exec --host-loopback`,
//! where the gateway's own address leads there. Three of them are this executable under other names, so that the
//! demonstration works on a machine without curl, and shows that rules tell programs apart, not code.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;
use std::time::Duration;

use crate::shell::{CommandExt, Failure, Outcome, exit_code};
use crate::workspace::{fresh_folder, has_program};

/// The hidden subcommand by which a copy of this executable becomes one of the programs.
pub(crate) const CLIENT: &str = "demo-client";

/// The gateway's address inside `tidegate exec`.
const GATEWAY: &str = "192.0.0.1";
static BODY: [u8; 100_000] = [b'~'; 100_000];
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn demo(gateway: &Path) -> Outcome<ExitCode> {
    let server = serve()
        .map_err(|error| Failure::new(format!("cannot listen on the loopback address: {error}")))?;
    let folder = fresh_folder("demo")?;
    let rules = folder.join("tidegate.toml");
    let text = format!(
        "[[rule]]\nname = \"no telemetry\"\napp = \"{}/telemetry\"\naction = \"block\"\n",
        folder.display()
    );
    fs::write(&rules, &text).map_err(|error| Failure::at("write", &rules, &error))?;
    let programs = folder.join("programs.sh");
    let script = script(&folder, server.port())?;
    fs::write(&programs, script).map_err(|error| Failure::at("write", &programs, &error))?;
    eprintln!(
        "\nThe programs of {} run behind the gateway, under one rule:\n\n{text}",
        programs.display()
    );
    let status = Command::new(gateway)
        .args(["exec", "--config"])
        .arg(&rules)
        .args(["--host-loopback", "--summary", "--", "/bin/sh"])
        .arg(&programs)
        .status_shown()?;
    if status.success() {
        eprintln!("\nA command of your own: cargo xtask run -- curl example.org");
    }
    Ok(exit_code(status))
}

/// What runs inside: each line is one program; the status is not 0 when one fares otherwise than the rules say.
fn script(folder: &Path, port: u16) -> Outcome<String> {
    let mut script = String::from("set -e\n");
    if has_program("curl") {
        let shown = "curl: HTTP %{http_code}, %{size_download} bytes\\n";
        script += &format!("curl -sS -o /dev/null -w '{shown}' http://{GATEWAY}:{port}/\n");
    }
    if has_program("python3") {
        let program = format!(
            "import urllib.request as r; b = r.urlopen('http://{GATEWAY}:{port}/').read(); print('python3:', len(b), 'bytes')"
        );
        script += &format!("python3 -c \"{program}\"\n");
    }
    for (name, expected) in [
        ("browser", "reached"),
        ("updater", "reached"),
        ("telemetry", "refused"),
    ] {
        let program = copy_of_myself(folder, name)?;
        script += &format!(
            "'{}' {CLIENT} {GATEWAY}:{port} {expected}\n",
            program.display()
        );
    }
    // Sets the summary that follows apart.
    script += "echo\n";
    Ok(script)
}

fn copy_of_myself(folder: &Path, name: &str) -> Outcome<PathBuf> {
    let copy = folder.join(name);
    fs::copy("/proc/self/exe", &copy).map_err(|error| Failure::at("write", &copy, &error))?;
    Ok(copy)
}

/// Answers HTTP and UDP echo on one port number until this process ends.
fn serve() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let echo = UdpSocket::bind(address)?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || answer(stream));
        }
    });
    thread::spawn(move || {
        let mut datagram = [0; 2048];
        while let Ok((length, peer)) = echo.recv_from(&mut datagram) {
            // An answer that cannot be sent is a lost datagram; the client says so.
            drop(echo.send_to(&datagram[..length], peer));
        }
    });
    Ok(address)
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    let mut request = Vec::new();
    let mut chunk = [0; 1024];
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut chunk)? {
            0 => return Ok(()),
            length => request.extend_from_slice(&chunk[..length]),
        }
    }
    write!(
        stream,
        "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n",
        BODY.len()
    )?;
    stream.write_all(&BODY)
}

/// One program of the demonstration: `SERVER reached|refused`.
pub(crate) fn client(arguments: &[String]) -> ExitCode {
    let name = std::env::current_exe()
        .ok()
        .and_then(|path| path.file_name().map(|name| name.to_owned()));
    let name = name.unwrap_or_default().to_string_lossy().into_owned();
    let [server, expected] = arguments else {
        return ExitCode::FAILURE;
    };
    let outcome = server
        .parse()
        .map_err(io::Error::other)
        .and_then(|server: SocketAddr| Ok((download(server)?, echo(server)?)));
    let found = match outcome {
        Ok((bytes, echoed)) => {
            println!("{name}: {bytes} bytes by TCP, {echoed} bytes echoed by UDP");
            "reached"
        }
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            println!("{name}: {error}");
            "refused"
        }
        Err(error) => {
            println!("{name}: {error}");
            "broken"
        }
    };
    if found == expected {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn download(server: SocketAddr) -> io::Result<usize> {
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let header = answer
        .windows(4)
        .position(|bytes| bytes == b"\r\n\r\n")
        .ok_or(io::ErrorKind::InvalidData)?;
    Ok(answer.len() - header - 4)
}

fn echo(server: SocketAddr) -> io::Result<usize> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(server)?;
    socket.send(b"is anybody there?")?;
    socket.recv(&mut [0; 64])
}

#[cfg(test)]
mod tests {
    use super::{BODY, download, echo, serve};

    #[test]
    fn the_demonstrations_client_and_server_understand_each_other() {
        let server = serve().expect("the loopback address is there");
        assert_eq!(download(server).expect("served"), BODY.len());
        assert_eq!(echo(server).expect("echoed"), 17);
    }
}
