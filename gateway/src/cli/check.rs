//! `tidegate check`: every problem of the configuration at once.

mod paths;
mod resolve;

use std::process::ExitCode;

use tidegate_policy::Problem;

use super::arguments::CheckArgs;
use crate::config::{Config, ConfigError, ConfigSource};
use crate::report::counted;
use crate::terminal::{self, printable_lines};

pub(super) fn main(args: CheckArgs) -> anyhow::Result<ExitCode> {
    let source = ConfigSource::new(args.config);
    if args.resolve {
        for line in resolve::resolve(&source)? {
            terminal::print_line(&printable_lines(&line))?;
        }
    }
    let mut result = Config::load(&source);
    if let Ok(config) = &mut result {
        config.warnings.extend(paths::warnings(&config.policy));
    }
    terminal::print_line(&printable_lines(&report(&source, &result)))?;
    Ok(if result.is_ok_and(|config| config.failures.is_empty()) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Each problem, then one line that sums up.
pub(super) fn report(source: &ConfigSource, result: &Result<Config, ConfigError>) -> String {
    let problems: Vec<&Problem> = match result {
        Ok(config) => config.warnings.iter().chain(&config.failures).collect(),
        Err(error) => error.problems.iter().collect(),
    };
    let mut lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let errors = problems.iter().filter(|problem| problem.is_error()).count();
    let found = match (errors, problems.len() - errors) {
        (0, 0) => "no problems".to_owned(),
        (errors, 0) => counted(errors, "error"),
        (0, warnings) => counted(warnings, "warning"),
        (errors, warnings) => {
            format!(
                "{}, {}",
                counted(errors, "error"),
                counted(warnings, "warning")
            )
        }
    };
    let meaning = match result {
        Ok(config) if config.files.is_empty() => format!(
            "{} is not there, so the defaults hold: everything is allowed",
            source.file().display()
        ),
        Ok(config) => format!(
            "{} in {}, default {}",
            counted(config.policy.len(), "rule"),
            counted(config.files.len(), "file"),
            config.policy.default_verdict()
        ),
        Err(_) => "the configuration cannot be used".to_owned(),
    };
    lines.push(format!("{found}: {meaning}"));
    lines.join("\n")
}
