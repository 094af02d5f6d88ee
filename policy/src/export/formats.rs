//! Rules with single values as each other program writes them. Whether they mean the same there is for others to ask.

mod mac;
mod opensnitch;
mod portmaster;
mod sets;

use serde_json::{Value, json};

use super::{Written, atoms};
use crate::destination::Destination;
use crate::import::Format;
use crate::import::draft::{Draft, Values};
use crate::port::Port;

use mac::{little_snitch, lulu};
use opensnitch::opensnitch;
use portmaster::portmaster;
use sets::{clash, list, sing_box};

/// Whether rules of a format say what is to be done.
pub(super) fn has_actions(format: Format) -> bool {
    match format {
        Format::OpenSnitch | Format::LittleSnitch | Format::Lulu | Format::Portmaster => true,
        Format::SingBox | Format::Clash | Format::List => false,
    }
}

/// The files for these.
pub(super) fn files(format: Format, drafts: &[Draft]) -> Result<Vec<Written>, String> {
    let one = |name: &str, text: String| {
        vec![Written {
            name: name.to_owned(),
            text,
        }]
    };
    let lines =
        |write: fn(&Draft) -> Result<String, String>, drafts: &[Draft]| -> Result<String, String> {
            drafts
                .iter()
                .map(|draft| Ok(write(draft)? + "\n"))
                .collect()
        };
    Ok(match format {
        Format::OpenSnitch => return opensnitch(drafts),
        Format::LittleSnitch => {
            let rules: Vec<Value> = drafts.iter().map(little_snitch).collect::<Result<_, _>>()?;
            one(
                "tidegate.lsrules",
                pretty(
                    &json!({"name": "Tidegate", "description": "Exported by Tidegate", "rules": rules}),
                ),
            )
        }
        Format::Lulu => one("lulu.json", pretty(&lulu(&atoms::paired(drafts))?)),
        Format::Portmaster => one("portmaster.json", pretty(&portmaster(drafts)?)),
        Format::SingBox => {
            let rules: Vec<Value> = drafts.iter().map(sing_box).collect::<Result<_, _>>()?;
            one(
                "sing-box.json",
                pretty(&json!({"version": 1, "rules": rules})),
            )
        }
        Format::Clash => one("clash.txt", lines(clash, &atoms::paired(drafts))?),
        Format::List => one("list.txt", lines(list, drafts)?),
    })
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

fn cannot(what: impl std::fmt::Display) -> String {
    format!("{what} cannot be said there")
}

/// The one destination, port and values of `app`, of a rule with no other condition.
struct Parts {
    to: Option<Destination>,
    port: Option<Port>,
    app: Vec<(&'static str, String)>,
}

fn parts(draft: &Draft) -> Result<Parts, String> {
    if !draft.to_not.is_empty() || !draft.port_not.is_empty() || !draft.app_not.is_empty() {
        return Err(cannot("`not`"));
    }
    let message = |refusal: crate::document::Refusal| refusal.message;
    let app = draft.app.iter().map(|(key, values)| match values {
        Values::Texts(texts) => (*key, texts.concat()),
        Values::Numbers(numbers) => (*key, numbers.iter().map(ToString::to_string).collect()),
    });
    Ok(Parts {
        to: draft
            .to
            .first()
            .map(|to| Destination::parse(to))
            .transpose()
            .map_err(message)?,
        port: draft
            .port
            .first()
            .map(|port| Port::parse(port))
            .transpose()
            .map_err(message)?,
        app: app.collect(),
    })
}

fn outbound(draft: &Draft) -> Result<(), String> {
    if draft.inbound {
        Err(cannot("`direction = \"in\"`"))
    } else {
        Ok(())
    }
}

fn plain(path: &str) -> Result<&str, String> {
    if path.contains(['*', '?', '[', '{']) {
        Err(cannot(format!("the pattern \"{path}\"")))
    } else {
        Ok(path)
    }
}
