//! A question about a flow, as text.

use std::fmt::Write as _;

use crate::ask::QuestionRecord;
use crate::terminal::printable;

/// Several lines: who wants what, and what is known of him. All that a program or a server chose is made harmless.
pub fn question_text(question: &QuestionRecord) -> String {
    let program = match (&question.app, &question.from) {
        (Some(path), _) => {
            let name = path.file_name().unwrap_or(path.as_os_str());
            name.to_string_lossy().into_owned()
        }
        (None, Some(host)) => format!("a program of {host}"),
        (None, None) => "a program that is not known".to_owned(),
    };
    let place = match (&question.to, &question.service) {
        (Some(to), Some(service)) => format!("{to} {service}"),
        _ => "many places".to_owned(),
    };
    let wish = if question.incoming {
        format!("{place} wants to be served by {program}")
    } else {
        format!("{program} wants to reach {place}")
    };
    let mut text = format!("question {}: {}\n", question.id, printable(&wish));
    let about = &question.about;
    let user = question.uid.map(|uid| match &about.user {
        Some(name) => format!("{uid} ({name})"),
        None => uid.to_string(),
    });
    let path = question
        .app
        .as_ref()
        .map(|path| path.to_string_lossy().into_owned());
    let parent = about
        .parent
        .as_ref()
        .map(|path| path.to_string_lossy().into_owned());
    let command = Some(about.command_line.clone()).filter(|line| !line.is_empty());
    let flows = match question.flows {
        1 => "1 flow".to_owned(),
        flows => format!("{flows} flows"),
    };
    let waits = format!("{flows}, {} s left", question.seconds_left);
    for (key, value) in [
        ("program", path),
        ("user", user),
        ("process", about.pid.map(|pid| pid.to_string())),
        ("command", command),
        ("parent", parent),
        ("unit", about.unit.clone()),
        ("container", question.container.clone()),
        ("rule", about.rule.clone()),
        ("waits", Some(waits)),
    ] {
        if let Some(value) = value {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {key:9}  {}", printable(&value));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ask::{About, QuestionId};
    use crate::record::Timestamp;

    fn question() -> QuestionRecord {
        QuestionRecord {
            id: QuestionId(7),
            since: Timestamp::now(),
            seconds_left: 29,
            app: Some("/opt/evil\u{202e}\n allow/x\u{1b}[2J".into()),
            uid: Some(1000),
            container: None,
            from: None,
            incoming: false,
            to: Some("203.0.113.9".to_owned()),
            service: Some("tcp/443".to_owned()),
            flows: 2,
            about: About {
                pid: Some(4711),
                user: Some("alice".to_owned()),
                command_line: "x\r\nquestion 8: curl wants".to_owned(),
                parent: Some("/bin/sh".into()),
                unit: None,
                rule: Some("ask me".to_owned()),
            },
        }
    }

    #[test]
    fn what_a_program_chose_cannot_pretend_to_be_ours() {
        insta::assert_snapshot!(question_text(&question()), @r"
        question 7: x\u{1b}[2J wants to reach 203.0.113.9 tcp/443
          program    /opt/evil\u{202e}\n allow/x\u{1b}[2J
          user       1000 (alice)
          process    4711
          command    x\r\nquestion 8: curl wants
          parent     /bin/sh
          rule       ask me
          waits      2 flows, 29 s left
        ");
    }
}
