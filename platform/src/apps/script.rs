//! Which file an interpreter was told to run, as its arguments say.
//!
//! Arguments are the process's own memory: who runs there may write others over them. So this tells one honest script from
//! another, and nothing about one that pretends.

/// How the arguments of a kind of interpreter are read.
struct Interpreter {
    /// Beginnings of its executables' names: what may follow is a version.
    names: &'static [&'static str],
    /// One-letter options that take a value, in the same argument or the next.
    with_value: &'static str,
    /// One-letter options after which no file comes: the code stands there, or in a module.
    inline: &'static str,
    /// Long options that take the next argument.
    long_with_value: &'static [&'static str],
    /// Long options after which no file comes.
    long_inline: &'static [&'static str],
}

const NONE: &[&str] = &[];

const INTERPRETERS: [Interpreter; 8] = [
    Interpreter {
        names: &["python", "pypy"],
        with_value: "WX",
        inline: "cm",
        long_with_value: &["--check-hash-based-pycs"],
        long_inline: NONE,
    },
    Interpreter {
        names: &["bash", "sh", "dash", "zsh", "ksh", "mksh", "ash", "busybox"],
        with_value: "oO",
        inline: "cs",
        long_with_value: &["--rcfile", "--init-file"],
        long_inline: NONE,
    },
    Interpreter {
        names: &["perl"],
        with_value: "",
        inline: "eE",
        long_with_value: NONE,
        long_inline: NONE,
    },
    Interpreter {
        names: &["ruby"],
        with_value: "CEIr",
        inline: "e",
        long_with_value: &["--encoding", "--external-encoding", "--internal-encoding"],
        long_inline: NONE,
    },
    Interpreter {
        names: &["node", "nodejs"],
        with_value: "rC",
        inline: "ep",
        long_with_value: &[
            "--require",
            "--import",
            "--loader",
            "--conditions",
            "--title",
        ],
        long_inline: &["--eval", "--print"],
    },
    Interpreter {
        names: &["php"],
        with_value: "cdzS",
        inline: "rBRE",
        long_with_value: NONE,
        long_inline: &["--run"],
    },
    Interpreter {
        names: &["lua", "luajit"],
        with_value: "lj",
        inline: "e",
        long_with_value: NONE,
        long_inline: NONE,
    },
    Interpreter {
        names: &["tclsh", "wish", "Rscript", "guile"],
        with_value: "",
        inline: "ec",
        long_with_value: NONE,
        long_inline: NONE,
    },
];

/// Options of `java` that take the next argument.
const JAVA_WITH_VALUE: [&str; 9] = [
    "-cp",
    "-classpath",
    "--class-path",
    "-p",
    "--module-path",
    "--add-modules",
    "--add-opens",
    "--add-exports",
    "--add-reads",
];

/// What an interpreter was told to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told<'a> {
    /// This is no interpreter.
    NoInterpreter,
    /// Code in its arguments or its input, or a module by name: no file.
    NoFile,
    /// This file, as it was called.
    File(&'a str),
}

/// What a program of this name was told to run.
pub(super) fn told<'a>(name: &str, command_line: &'a [String]) -> Told<'a> {
    let arguments = command_line.get(1..).unwrap_or_default();
    if is_version_of(name, "java") {
        return of_java(arguments);
    }
    let known = INTERPRETERS.iter().find(|interpreter| {
        let mut names = interpreter.names.iter();
        names.any(|known| is_version_of(name, known))
    });
    match known {
        None => Told::NoInterpreter,
        // The first argument is what it is to be.
        Some(shell) if is_version_of(name, "busybox") => {
            shell.told(arguments.get(1..).unwrap_or_default())
        }
        Some(interpreter) => interpreter.told(arguments),
    }
}

/// Whether `name` is `known`, perhaps with a version: `python3.11`, `perl5.36.0`, `lua5.4`.
fn is_version_of(name: &str, known: &str) -> bool {
    name.strip_prefix(known).is_some_and(|version| {
        version
            .bytes()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-'))
    })
}

impl Interpreter {
    fn told<'a>(&self, arguments: &'a [String]) -> Told<'a> {
        let mut arguments = arguments.iter().map(String::as_str);
        while let Some(argument) = arguments.next() {
            match argument {
                "--" => return arguments.next().map_or(Told::NoFile, Told::File),
                "-" => return Told::NoFile,
                long if long.starts_with("--") => {
                    let name = long.split_once('=').map_or(long, |(name, _)| name);
                    if self.long_inline.contains(&name) {
                        return Told::NoFile;
                    }
                    if self.long_with_value.contains(&long) {
                        arguments.next();
                    }
                }
                short if short.len() > 1 && short.starts_with(['-', '+']) => {
                    match self.letters(&short[1..]) {
                        Letters::Inline => return Told::NoFile,
                        Letters::TakeNext => drop(arguments.next()),
                        Letters::Alone => {}
                    }
                }
                file => return Told::File(file),
            }
        }
        Told::NoFile
    }

    fn letters(&self, letters: &str) -> Letters {
        for (at, letter) in letters.char_indices() {
            if self.inline.contains(letter) {
                return Letters::Inline;
            }
            if self.with_value.contains(letter) {
                let rest = &letters[at + letter.len_utf8()..];
                return match rest {
                    "" => Letters::TakeNext,
                    _ => Letters::Alone,
                };
            }
        }
        Letters::Alone
    }
}

/// What a group of one-letter options means for what follows.
enum Letters {
    Alone,
    TakeNext,
    Inline,
}

/// The file after `-jar`, or a source file; not a class, which is found by its name.
fn of_java(arguments: &[String]) -> Told<'_> {
    let mut arguments = arguments.iter().map(String::as_str);
    while let Some(argument) = arguments.next() {
        match argument {
            "-jar" => return arguments.next().map_or(Told::NoFile, Told::File),
            "-m" | "--module" => return Told::NoFile,
            option if JAVA_WITH_VALUE.contains(&option) => drop(arguments.next()),
            option if option.starts_with('-') => {}
            source if source.ends_with(".java") => return Told::File(source),
            _ => return Told::NoFile,
        }
    }
    Told::NoFile
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn the_file_is_what_comes_after_the_options_and_their_values() {
        let cases = [
            ("python3.11", "python3 /a.py -c x", Some("/a.py")),
            ("python3", "python3 -u -W error -Xdev a.py", Some("a.py")),
            ("python3", "python3 -W error::x a.py", Some("a.py")),
            ("python3", "python3 -m http.server", None),
            ("python3", "python3 -Bc pass a.py", None),
            ("python3", "python3", None),
            ("python3", "python3 - a.py", None),
            ("bash", "bash -e -o pipefail ./run --fast", Some("./run")),
            ("bash", "bash -c ./run", None),
            ("bash", "bash --rcfile x +e -- -c", Some("-c")),
            ("dash", "sh -ex /usr/bin/job", Some("/usr/bin/job")),
            ("busybox", "busybox sh /a.sh", Some("/a.sh")),
            (
                "node",
                "node --inspect --require ./x.js app.js",
                Some("app.js"),
            ),
            ("node", "node --eval 1 app.js", None),
            ("perl5.36.0", "perl -w -Ilib a.pl", Some("a.pl")),
            ("perl", "perl -we 1 a.pl", None),
            ("ruby", "ruby -r json -W0 a.rb", Some("a.rb")),
            (
                "java",
                "java -Xmx1g -cp a:b -jar app.jar -jar x",
                Some("app.jar"),
            ),
            ("java", "java -cp a:b Main app.jar", None),
            ("java", "java Hello.java", Some("Hello.java")),
            ("lua5.4", "lua5.4 -l socket a.lua", Some("a.lua")),
        ];
        for (name, line, file) in cases {
            let expected = file.map_or(Told::NoFile, Told::File);
            assert_eq!(told(name, &words(line)), expected, "{line}");
        }
    }

    #[test]
    fn other_programs_are_no_interpreters() {
        for name in [
            "curl",
            "pythonista",
            "shotwell",
            "javac",
            "node_exporter",
            "",
        ] {
            assert_eq!(told(name, &words("x /a.py")), Told::NoInterpreter, "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_arguments_panic(name in "(python3|bash|node|java|perl|busybox)", line in proptest::collection::vec(".{0,12}", 0..8)) {
            told(&name, &line);
        }
    }
}
