//! Small Python programs on the lab's machines, for what no common tool does: socket options, marks, odd orders of calls.
//!
//! Always the system's interpreter, which every user can read.

use std::process::Command;

use anyhow::Result;

use crate::namespace::{Namespace, User};
use crate::process::{Background, Finished};

/// The interpreter's executable, as records name it: `/usr/bin/python3` is a link on most systems.
const INTERPRETER: &str = "/usr/bin/python3";

impl Namespace {
    /// Runs a Python program to its end.
    pub fn python(&self, program: &str) -> Result<Finished> {
        self.python_as(User::ROOT, program)
    }

    /// The same, as this user.
    pub fn python_as(&self, user: User, program: &str) -> Result<Finished> {
        Finished::of(&mut self.python_command(user, program))
    }

    /// Starts a Python program that is ended when the guard is dropped.
    pub fn python_background_as(&self, user: User, program: &str) -> Result<Background> {
        Background::start(&mut self.python_command(user, program))
    }

    fn python_command(&self, user: User, program: &str) -> Command {
        let mut command = self.command_as(user, INTERPRETER);
        command.args(["-u", "-c", program]);
        command
    }
}
