//! Portmaster: what it exports of an application, of all settings, or of one, as JSON or YAML.
//!
//! What an application may not reach at all is refused first; then its rules are tried in order; then protections; then
//! its default.

mod endpoint;

use serde_json::{Map, Value};

use super::draft::{Draft, Values};
use super::json::{self, Object};
use super::patterns;
use super::piece::Piece;
use super::yaml;
use crate::document::Refusal;
use crate::verdict::Verdict;

/// What may not be reached at all: setting, destinations that cover it, and whether it is about clients.
const BARRED: [(&str, &[&str], bool); 4] = [
    ("filter/blockInternet", &["internet", "multicast"], false),
    (
        "filter/blockLAN",
        &["lan", "link-local", "multicast"],
        false,
    ),
    ("filter/blockLocal", &["loopback"], false),
    ("filter/blockInbound", &[], true),
];

/// Settings that change nothing of what is allowed.
const HARMLESS: [&str; 5] = ["core/", "dns/", "history/", "splittun/", "spn/"];

pub(super) fn read(text: &str) -> Result<Vec<Piece>, Refusal> {
    let not_an_export = || json::not_this("an export of Portmaster");
    let value = match text.trim_start().starts_with('{') {
        true => json::parse(text)?,
        false => yaml::parse(text)?,
    };
    let object = Object::of(&value).ok_or_else(not_an_export)?;
    let mut pieces = Vec::new();
    let app = match object.text("type").ok().flatten() {
        Some("profile") => Some(programs(&object, &mut pieces)),
        Some("settings") => None,
        Some("single-setting") => {
            let id = object.text("id").ok().flatten().ok_or_else(not_an_export)?;
            let value = object
                .value("value")
                .ok()
                .flatten()
                .ok_or_else(not_an_export)?;
            let settings = Settings::of(&Map::from_iter([(id.to_owned(), value.clone())]));
            settings.read(None, &mut pieces);
            return Ok(pieces);
        }
        _ => return Err(not_an_export()),
    };
    let empty = Map::new();
    let config = match value.get("config") {
        Some(Value::Object(config)) => config,
        Some(Value::Null) | None => &empty,
        Some(_) => return Err(not_an_export()),
    };
    if app.as_ref().is_some_and(Vec::is_empty) {
        // No program of it can be named, so nothing of it is taken over.
        return Ok(pieces);
    }
    Settings::of(config).read(app.as_deref(), &mut pieces);
    Ok(pieces)
}

/// The paths of a profile's programs; what else it knows them by is refused.
fn programs(object: &Object<'_>, pieces: &mut Vec<Piece>) -> Vec<String> {
    let mut paths = Vec::new();
    let fingerprints = match object.value("fingerprints") {
        Ok(Some(Value::Array(fingerprints))) => &fingerprints[..],
        _ => &[],
    };
    for (at, fingerprint) in fingerprints.iter().enumerate() {
        let place = format!("fingerprints[{at}]");
        match program(fingerprint) {
            Ok(found) => paths.extend(found),
            // It allows nothing, so nothing is missing that would block.
            Err(reason) => pieces.push(Piece::new(&place, &place, Verdict::Allow).refused(reason)),
        }
    }
    if fingerprints.is_empty() {
        let piece = Piece::new("fingerprints", "fingerprints", Verdict::Allow);
        pieces.push(piece.refused("the profile does not say which programs it is about"));
    }
    paths
}

fn program(fingerprint: &Value) -> Result<Vec<String>, String> {
    let object = Object::of(fingerprint).ok_or("the fingerprint is no object")?;
    object.pass_over(&["key", "mergedFrom"]);
    let kind = object.text("type")?.unwrap_or_default();
    let operation = object.text("operation")?.unwrap_or_default();
    let value = object.text("value")?.unwrap_or_default();
    if let Some(key) = object.unknown() {
        return Err(format!("unknown key `{key}`"));
    }
    if kind != "path" || !value.starts_with(['/', '^']) {
        return Err(format!("programs known by \"{kind}\" cannot be named here"));
    }
    let plain = patterns::literal(value);
    match operation {
        "equals" => Ok(vec![plain]),
        "prefix" => Ok(vec![format!("{plain}*"), format!("{plain}*/**")]),
        "regex" => {
            let within = patterns::within_path_regex(value)?;
            match within.exact {
                true => Ok(within.patterns),
                false => Err(format!("wildcards cannot say \"{value}\"")),
            }
        }
        other => Err(format!("unknown operation \"{other}\"")),
    }
}

/// Settings under their whole names.
struct Settings(Vec<(String, Value)>);

impl Settings {
    fn of(config: &Map<String, Value>) -> Self {
        let mut flat = Vec::new();
        for (key, value) in config {
            // Groups within groups are not written by Portmaster.
            match value.as_object() {
                Some(group) => {
                    let named =
                        |(name, value): (&String, &Value)| (format!("{key}/{name}"), value.clone());
                    flat.extend(group.iter().map(named));
                }
                None => flat.push((key.clone(), value.clone())),
            }
        }
        Self(flat)
    }

    fn value(&self, key: &str) -> Option<&Value> {
        self.0
            .iter()
            .find(|(own, _)| own == key)
            .map(|(_, value)| value)
    }

    fn read(&self, app: Option<&[String]>, pieces: &mut Vec<Piece>) {
        for (key, to, inbound) in BARRED {
            pieces.extend(self.barred(key, to, inbound, app));
        }
        for (key, _) in self.unread() {
            if key == "filter/blockP2P" && self.is_on(key) {
                let piece = Piece::new(key, key, Verdict::Block);
                pieces.push(piece.refused("addresses without names are not told apart yet"));
            }
        }
        let (mut out, mut within) = (Vec::new(), Vec::new());
        for (key, inbound) in [
            ("filter/endpoints", false),
            ("filter/serviceEndpoints", true),
        ] {
            let places = if inbound { &mut within } else { &mut out };
            let lines = match self.value(key) {
                None => continue,
                Some(Value::Array(lines)) => lines,
                Some(_) => {
                    let piece = Piece::new(key, key, Verdict::Block);
                    pieces.push(piece.refused("it is no list of rules"));
                    continue;
                }
            };
            for (at, line) in lines.iter().enumerate() {
                let place = format!("{key}[{at}]");
                pieces.push(endpoint::read(line, &place, inbound, app, places));
            }
        }
        for (key, _) in self.unread().filter(|(key, _)| *key != "filter/blockP2P") {
            if self.is_on(key) && !HARMLESS.iter().any(|start| key.starts_with(start)) {
                let piece = Piece::new(key, key, Verdict::Block);
                pieces.push(piece.refused("there is no such protection in a rule"));
            }
        }
        pieces.extend(self.default_action(app, out));
    }

    fn unread(&self) -> impl Iterator<Item = (&str, &Value)> {
        let read = [
            "filter/endpoints",
            "filter/serviceEndpoints",
            "filter/defaultAction",
        ];
        let all = self.0.iter().map(|(key, value)| (key.as_str(), value));
        all.filter(move |(key, _)| {
            !read.contains(key) && !BARRED.iter().any(|(barred, _, _)| barred == key)
        })
    }

    /// Whether a setting does something: true, a number but 0, or something in a list.
    fn is_on(&self, key: &str) -> bool {
        match self.value(key) {
            None | Some(Value::Null | Value::Bool(false)) => false,
            Some(Value::Array(values)) => !values.is_empty(),
            Some(Value::Number(number)) => number.as_i64() != Some(0),
            Some(Value::Bool(true) | Value::String(_) | Value::Object(_)) => true,
        }
    }

    fn barred(
        &self,
        key: &str,
        to: &[&str],
        inbound: bool,
        app: Option<&[String]>,
    ) -> Option<Piece> {
        if !self.is_on(key) {
            return None;
        }
        let mut drafts = vec![draft(key, Verdict::Block, inbound, app)];
        drafts[0].to = to.iter().map(ToString::to_string).collect();
        if !inbound {
            // Clients from there, too.
            drafts.push(Draft {
                inbound: true,
                ..drafts[0].clone()
            });
        }
        Some(Piece::new(key, key, Verdict::Block).with(Ok(drafts)))
    }

    fn default_action(&self, app: Option<&[String]>, places: Vec<String>) -> Option<Piece> {
        let key = "filter/defaultAction";
        let value = self.value(key)?;
        let new = |action| Piece::new(key, key, action);
        Some(match value.as_str() {
            Some("permit") => {
                let piece = new(Verdict::Allow);
                // Inbound is refused there where no rule allows it.
                let mut allowed = draft(key, Verdict::Allow, false, app);
                allowed.to_not = places;
                piece.with(Ok(vec![allowed]))
            }
            Some("block") => {
                let both = [false, true].map(|inbound| draft(key, Verdict::Block, inbound, app));
                new(Verdict::Block).with(Ok(both.into()))
            }
            Some("ask") => new(Verdict::Allow)
                .refused("it asks: what no rule matches is left to your own default"),
            _ => new(Verdict::Block).refused("an unknown default"),
        })
    }
}

fn draft(name: &str, action: Verdict, inbound: bool, app: Option<&[String]>) -> Draft {
    let mut draft = Draft::new(name, action);
    draft.inbound = inbound;
    if let Some(paths) = app {
        draft.app.push(("path", Values::Texts(paths.to_vec())));
    }
    draft
}
