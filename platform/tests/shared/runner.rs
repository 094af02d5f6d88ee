//! A program with a `main` of its own, as a test runner sees it: `--list [--ignored]`, then `--exact NAME`.

/// Lists the tests, or runs those that are asked for; `run` says how one is run.
pub(crate) fn run_tests(arguments: &[String], tests: &[(&str, fn())], run: impl Fn(fn())) {
    let has = |wanted: &str| arguments.iter().any(|argument| argument == wanted);
    if has("--list") {
        // None is ignored.
        if !has("--ignored") {
            tests.iter().for_each(|(name, _)| println!("{name}: test"));
        }
        return;
    }
    let wanted = |name: &str| !has("--exact") || has(name);
    for (name, test) in tests.iter().filter(|(name, _)| wanted(name)) {
        run(*test);
        println!("test {name} ... ok");
    }
}
