//! What a run was of: versions, machine, options.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use crate::contender::Way;

/// Names the built program, for the lab too.
const GATEWAY: &str = "TIDEGATE";
/// Names the commit that it was built of.
const COMMIT: &str = "TIDEGATE_COMMIT";

/// What is not known is left out, and where the report went.
pub(crate) fn about(ways: &[Way], options: &[String]) -> BTreeMap<String, String> {
    let mut about = BTreeMap::new();
    let mut know = |key: &str, value: Option<String>| {
        if let Some(value) = value.map(|value| value.trim().to_owned()) {
            about.insert(key.to_owned(), value);
        }
    };
    know("options", Some(without_files(options)));
    know("date", said("date", &["--utc", "+%Y-%m-%d %H:%M"]));
    know(
        "kernel",
        fs::read_to_string("/proc/sys/kernel/osrelease").ok(),
    );
    know("processors", processors());
    know("tidegate", gateway());
    for program in ways.iter().flat_map(|way| way.programs) {
        know(program.name, Some(program.version()));
    }
    about
}

fn without_files(options: &[String]) -> String {
    let mut words = Vec::new();
    let mut options = options.iter();
    while let Some(option) = options.next() {
        match option.as_str() {
            "--json" | "--plot" => drop(options.next()),
            word => words.push(word),
        }
    }
    words.join(" ")
}

fn gateway() -> Option<String> {
    let program = std::env::var(GATEWAY).ok()?;
    let version = said(&program, &["--version"])?;
    let version = version.trim().trim_start_matches("tidegate ");
    let commit = std::env::var(COMMIT).ok();
    Some(commit.map_or_else(
        || version.to_owned(),
        |commit| format!("{version} ({commit})"),
    ))
}

fn processors() -> Option<String> {
    let number = std::thread::available_parallelism().ok()?;
    let all = fs::read_to_string("/proc/cpuinfo").ok()?;
    let name = all.lines().find_map(|line| line.strip_prefix("model name"));
    let name = name?.trim_start_matches(['\t', ' ', ':']);
    Some(format!("{number} of {name}"))
}

fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::without_files;

    #[test]
    fn a_run_does_not_say_into_which_files_it_went() {
        let options = "--rounds 2 --json here --plot there --full".split(' ');
        let options: Vec<_> = options.map(str::to_owned).collect();
        assert_eq!(without_files(&options), "--rounds 2 --full");
    }
}
