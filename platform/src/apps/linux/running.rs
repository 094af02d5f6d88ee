//! A process for tests to look at.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use super::descriptors::ProcessDirectory;
use super::process::{Image, Program};

/// A program that has said `ready` and waits for the end of its input. It ends when dropped.
pub(super) struct Running(pub(super) Child);

impl Running {
    pub(super) fn new(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self(child)
    }

    pub(super) fn process(&self) -> ProcessDirectory {
        ProcessDirectory::open(self.0.id()).unwrap()
    }

    pub(super) fn program(&self) -> Program {
        let process = self.process();
        let image = Image::read(&process).unwrap();
        Program::read(&process, process.stat().unwrap(), &image)
    }

    pub(super) fn path(&self) -> String {
        self.program().path.into_os_string().into_string().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}
