//! The programs of others: where they are, and which version it is.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

/// Names the folder into which `cargo xtask bench --install-peers` puts peers.
const FOLDER: &str = "TIDEGATE_PEERS";

/// A program that a contender is, or needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Program {
    pub(crate) name: &'static str,
    pub(crate) version: Version,
}

/// How to learn a program's version.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Version {
    /// The word after this one in what it prints when it is called so.
    Printed {
        argument: &'static str,
        after: &'static str,
    },
    /// That of its Debian package.
    Package(&'static str),
}

impl Program {
    pub(crate) fn path(&self) -> Result<PathBuf> {
        let own = std::env::var_os(FOLDER).map(PathBuf::from);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut places = own.into_iter().chain(std::env::split_paths(&path));
        let found = places.find_map(|place| {
            let program = place.join(self.name);
            program.is_file().then_some(program)
        });
        found.with_context(|| {
            format!(
                "{} is not installed: `cargo xtask bench --install-peers`",
                self.name
            )
        })
    }

    /// Its version, or that it is not known.
    pub(crate) fn version(&self) -> String {
        let found = match self.version {
            Version::Printed { argument, after } => self.printed(argument, after),
            Version::Package(package) => printed_by(Command::new("dpkg-query").args([
                "--show",
                "--showformat",
                "${Version}",
                package,
            ])),
        };
        found.unwrap_or_else(|| "unknown".to_owned())
    }

    fn printed(&self, argument: &str, after: &str) -> Option<String> {
        let text = printed_by(Command::new(self.path().ok()?).arg(argument))?;
        let mut words = text.split_whitespace().skip_while(|word| *word != after);
        words.nth(1).map(str::to_owned)
    }
}

fn printed_by(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    String::from_utf8(output.stdout).ok()
}

#[cfg(test)]
mod tests {
    use super::{Program, Version};

    #[test]
    fn a_version_is_the_word_after_the_name() {
        let bash = Program {
            name: "bash",
            version: Version::Printed {
                argument: "--version",
                after: "version",
            },
        };
        assert!(
            bash.version()
                .starts_with(|first: char| first.is_ascii_digit())
        );
    }

    #[test]
    fn a_program_that_is_not_there_says_what_installs_it() {
        let nobody = Program {
            name: "tidegate-no-such-program",
            version: Version::Package("tidegate-no-such-package"),
        };
        let error = nobody.path().expect_err("it is not there").to_string();
        assert!(error.contains("--install-peers"), "{error}");
    }
}
