//! A shell that stays behind a contender's gateway for the whole run and is told what to do.
//!
//! So a gateway starts once, like in real life, and rounds of several contenders interleave.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tidegate_lab::wait_until;

/// Ends what a command printed; its status follows.
const END: &str = "tidegate-bench-end ";

/// What bash runs: one line in, its output and an end mark out.
pub(crate) const LOOP: &str = "while IFS= read -r line; do eval \"$line\" </dev/null; status=$?; echo; echo \"tidegate-bench-end $status\"; done";

/// Longer than any command takes by itself: what is not done by then never will be.
const PATIENCE: Duration = Duration::from_secs(90);

const GRACE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Session {
    child: Child,
    input: Option<ChildStdin>,
    output: Receiver<String>,
}

impl Session {
    /// Starts a command that ends in `bash -c LOOP`, and waits until the shell answers.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("cannot start a session")?;
        let input = child.stdin.take();
        let printed = child.stdout.take().context("a piped output is there")?;
        let (sender, output) = channel();
        // Reading would block for ever where a gateway does not let its command come to anything.
        thread::spawn(move || {
            let lines = BufReader::new(printed).lines();
            lines
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        let mut session = Self {
            child,
            input,
            output,
        };
        session
            .run("true")
            .context("the shell behind the gateway does not answer")?;
        Ok(session)
    }

    /// The process that was started: the gateway, or what starts it.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Runs one line of bash to its end and gives what it printed; an error if its status is not 0.
    pub(crate) fn run(&mut self, line: &str) -> Result<String> {
        self.watch(line, |_| Ok(()))
    }

    /// The same, and calls a function with each line when it is printed.
    pub(crate) fn watch(
        &mut self,
        line: &str,
        mut printing: impl FnMut(&str) -> Result<()>,
    ) -> Result<String> {
        let input = self.input.as_mut().context("the session has ended")?;
        writeln!(input, "{line}").context("cannot tell the shell")?;
        let mut printed = String::new();
        loop {
            let line = self.output.recv_timeout(PATIENCE);
            let line =
                line.with_context(|| format!("the session ended or hangs; it printed: {printed}"))?;
            match line.strip_prefix(END) {
                Some("0") => return Ok(printed),
                Some(status) => bail!("status {status}: {printed}"),
                None => {
                    printing(&line)?;
                    printed.push_str(&line);
                    printed.push('\n');
                }
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // The shell ends with its input, and what it runs behind ends with it.
        drop(self.input.take());
        let ended = wait_until("the session ends", GRACE, || {
            !matches!(self.child.try_wait(), Ok(None))
        });
        if ended.is_err() {
            // With all it runs: what hangs is hardly ever the shell itself.
            let group = format!("-{}", self.child.id());
            drop(Command::new("kill").args(["-KILL", "--", &group]).status());
            drop(self.child.wait());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell() -> Session {
        Session::start(Command::new("bash").args(["-c", LOOP])).expect("bash starts")
    }

    #[test]
    fn commands_run_one_after_the_other_in_one_shell() {
        let mut shell = shell();
        shell.run("x=1").expect("succeeds");
        assert_eq!(
            shell.run("echo $x; echo two").expect("succeeds").trim(),
            "1\ntwo"
        );
    }

    #[test]
    fn a_failed_command_is_an_error_and_the_next_runs() {
        let mut shell = shell();
        assert!(
            shell
                .run("echo why; false")
                .is_err_and(|error| error.to_string().contains("why"))
        );
        assert!(shell.run("true").is_ok());
    }
}
