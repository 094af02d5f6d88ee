//! A terminal for a program: what it shows, and keys that are typed.

use std::io::{PipeWriter, Write, pipe};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::namespace::{Namespace, User};
use crate::process::Background;

/// Gives its arguments, a command, a terminal of 40 rows and 100 columns. Keys come by standard input; what the terminal
/// shows goes to standard output; the exit status is the command's.
const EMULATOR: &str = "
import fcntl, os, pty, select, struct, sys, termios
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack('HHHH', 40, 100, 0, 0))
watched = [terminal, 0]
while True:
    for ready in select.select(watched, [], [])[0]:
        try:
            data = os.read(ready, 4096)
        except OSError:
            data = b''
        if data:
            os.write(terminal if ready == 0 else 1, data)
        else:
            watched.remove(ready)
    if terminal not in watched:
        break
status = os.waitpid(pid, 0)[1]
sys.exit(128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))
";

/// A command that runs in a terminal of its own; ended when dropped.
#[derive(Debug)]
pub struct Terminal {
    keyboard: PipeWriter,
    process: Background,
}

impl Terminal {
    /// Starts the program and the arguments of `command` in a terminal on this machine, as this user.
    pub fn start(machine: &Namespace, user: User, command: &Command) -> Result<Self> {
        let (keys, keyboard) = pipe().context("cannot make a pipe")?;
        let mut emulator = machine.command_as(user, "/usr/bin/python3");
        emulator
            .args(["-c", EMULATOR])
            .arg(command.get_program())
            .args(command.get_args())
            .env("TERM", "dumb")
            .stdin(keys);
        Ok(Self {
            process: Background::start(&mut emulator)?,
            keyboard,
        })
    }

    /// Types keys, e.g. `"\x03"` for Ctrl-C.
    pub fn press(&self, keys: &str) -> Result<()> {
        (&self.keyboard)
            .write_all(keys.as_bytes())
            .context("the terminal is closed")
    }

    /// Waits until this was shown.
    pub fn wait_for_output(&self, text: &str) -> Result<()> {
        self.process.wait_for_output(text)
    }

    /// What was shown until now.
    pub fn output(&self) -> String {
        self.process.output()
    }

    /// Waits for the command's end and gives its exit status.
    pub fn wait(&mut self, patience: Duration) -> Result<i32> {
        self.process.wait(patience)
    }
}
