//! `tidegate exec` on a lab's host.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::daemon::{STATE, program};
use crate::namespace::User;
use crate::network::Lab;
use crate::process::{Background, Finished};

/// `tidegate exec`, as it will be called. See [`Lab::exec`].
#[derive(Clone, Debug)]
pub struct Exec<'l> {
    pub(crate) lab: &'l Lab,
    pub(crate) user: User,
    options: Vec<String>,
}

impl Lab {
    /// Prepares `tidegate exec` on the host, as an ordinary user and without a configuration.
    pub fn exec(&self) -> Exec<'_> {
        Exec {
            lab: self,
            user: User::ALICE,
            options: Vec::new(),
        }
    }
}

impl Exec<'_> {
    /// Runs as this user.
    pub fn user(mut self, user: User) -> Self {
        self.user = user;
        self
    }

    /// With this configuration.
    pub fn config(self, toml: &str) -> Result<Self> {
        let file: PathBuf = self.lab.file("exec.toml", toml)?;
        Ok(self.option("--config").option(&file.display().to_string()))
    }

    /// With this option, or argument of one, before the command.
    pub fn option(mut self, option: &str) -> Self {
        self.options.push(option.to_owned());
        self
    }

    /// The whole command line, for tests that need its terminal or its signals.
    pub fn command(&self, words: &[&str]) -> Result<Command> {
        let mut command = self.lab.host.command_as(self.user, program(self.lab)?);
        self.lab.set_surroundings(&mut command, self.user)?;
        command
            .env(STATE, self.lab.state_of(self.user)?)
            .arg("exec")
            .args(&self.options)
            .arg("--")
            .args(words);
        Ok(command)
    }

    /// Runs a bash script through the gateway to its end.
    pub fn bash(&self, script: &str) -> Result<Finished> {
        Finished::of(&mut self.command(&["/bin/bash", "-o", "pipefail", "-c", script])?)
    }

    /// Starts a bash script through the gateway.
    pub fn background(&self, script: &str) -> Result<Background> {
        Background::start(&mut self.command(&["/bin/bash", "-o", "pipefail", "-c", script])?)
    }
}
