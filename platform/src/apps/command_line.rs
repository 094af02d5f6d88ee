//! A process's arguments, as its system shows them.

/// How many arguments are kept, and how many bytes of all of them. Every flow that is remembered holds its own.
const MOST_ARGUMENTS: usize = 64;
const LONGEST_COMMAND_LINE: usize = 4096;

/// The arguments in a text where each ends with NUL.
pub(super) fn split(command_line: &[u8]) -> Vec<String> {
    let command_line = command_line.strip_suffix(b"\0").unwrap_or(command_line);
    if command_line.is_empty() {
        return Vec::new();
    }
    command_line
        .get(..LONGEST_COMMAND_LINE)
        .unwrap_or(command_line)
        .split(|byte| *byte == 0)
        .take(MOST_ARGUMENTS)
        .map(|argument| String::from_utf8_lossy(argument).into_owned())
        .collect()
}

/// The arguments in the answer to `KERN_PROCARGS2` of macOS: their number, the path of the program, NULs up to a round
/// address, the arguments and then the environment; `None` if there are fewer than it says.
#[cfg(any(target_os = "macos", fuzzing, test))]
pub(crate) fn of_darwin(answer: &[u8]) -> Option<Vec<String>> {
    let (count, text) = answer.split_first_chunk()?;
    let count = usize::try_from(i32::from_ne_bytes(*count)).ok()?;
    let path_ends = text.iter().position(|byte| *byte == 0)?;
    let after_path = text.get(path_ends..)?;
    let begins = after_path.iter().position(|byte| *byte != 0)?;
    let arguments = after_path.get(begins..)?;
    let mut ends = arguments
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == 0)
        .map(|(place, _)| place + 1);
    let length = match count {
        0 => 0,
        _ => ends.nth(count - 1)?,
    };
    arguments.get(..length).map(split)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn arguments_are_split_at_nul_and_bounded() {
        assert_eq!(split(b"curl\0-s\0\0x\0"), ["curl", "-s", "", "x"]);
        assert_eq!(split(b""), Vec::<String>::new());
        assert_eq!(split(b"title without nul"), ["title without nul"]);
        for long in [
            vec![b'a'; 10_000],
            [&[b'a'; 100][..], b"\0"].concat().repeat(100),
        ] {
            let arguments = split(&long);
            let kept: usize = arguments.iter().map(String::len).sum();
            assert_eq!(kept + arguments.len() - 1, LONGEST_COMMAND_LINE);
        }
        assert_eq!(split(&b"x\0".repeat(1000)).len(), MOST_ARGUMENTS);
    }

    #[test]
    fn darwins_arguments_end_where_the_environment_begins() {
        let answer = [
            &3_i32.to_ne_bytes()[..],
            b"/usr/bin/curl\0\0\0\0curl\0-s\0\0PATH=/bin\0HOME=/\0",
        ]
        .concat();
        assert_eq!(
            of_darwin(&answer),
            Some(vec!["curl".to_owned(), "-s".to_owned(), String::new()])
        );
        let cut = answer.get(..24).unwrap();
        assert_eq!(of_darwin(cut), None);
    }

    proptest! {
        #[test]
        fn no_answer_panics(count: i32, text: Vec<u8>) {
            let answer = [&count.to_ne_bytes()[..], &text].concat();
            let arguments = of_darwin(&answer).map_or(0, |arguments| arguments.len());
            prop_assert!(arguments <= MOST_ARGUMENTS);
            of_darwin(&text);
        }
    }
}
