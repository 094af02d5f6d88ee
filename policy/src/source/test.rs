//! One `[[test]]`.

use std::net::IpAddr;
use std::path::PathBuf;

use super::identity::read_facts;
use super::values::read_list;
use super::when::{ProfileUse, read_context};
use super::{DIRECTIONS, VERDICTS};
use crate::destination::{Continent, Country, label};
use crate::document::{Item, Refusal, Section};
use crate::facts::{App, Direction, Fact, FlowName, NameSource};
use crate::flow_test::FlowTest;
use crate::known_flow::KnownFlow;
use crate::name::Name;
use crate::port::Port;

/// Absent when the test cannot be run; the reason was noted.
pub(super) fn read_test(section: &Section<'_>, profiles: &mut Vec<ProfileUse>) -> Option<FlowTest> {
    let name = section.string("name");
    let expect = section.choice("expect", &VERDICTS);
    let by = section.string("by");
    let flow = section
        .section("flow")
        .map(|flow| read_flow(&flow, profiles));
    for (key, is_there) in [("expect", expect.is_some()), ("flow", flow.is_some())] {
        if !is_there && section.item(key).is_none() {
            let hint =
                "write flow = { to = \"192.0.2.1\", port = \"tcp/443\" } and expect = \"block\"";
            section.error(format!("the test has no `{key}`"), Some(hint.to_owned()));
        }
    }
    Some(FlowTest {
        name,
        origin: section.origin(),
        flow: flow??,
        expect: expect?,
        by,
    })
}

fn read_flow(section: &Section<'_>, profiles: &mut Vec<ProfileUse>) -> Option<KnownFlow> {
    let context = read_context(section, profiles);
    let app = read_app(section);
    let direction = section.choice("direction", &DIRECTIONS);
    let to = section.item("to").map(|item| item.parse(address));
    let from = section.item("from").map(|item| item.parse(address));
    let service = section
        .item("port")
        .map(|item| item.parse(|text| Port::parse(text)?.one_service()));
    let names = read(section, "name", |item| item.parse(Name::parse));
    let lists = section.item("list").map(|item| {
        let lists = read_list(&item, |item| item.parse(label));
        lists.iter().map(ToString::to_string).collect()
    });
    let country = section.item("country").map(|item| {
        let hint = "write the two letters of ISO 3166-1, or \"none\"";
        read_fact(&item, Country::parse, "no country", hint)
    });
    let continent = section.item("continent").map(|item| {
        let hint = "write one of AF, AN, AS, EU, NA, OC, SA, or \"none\"";
        read_fact(&item, Continent::parse, "no continent", hint)
    });
    let system = section.integer("as").map_or(Fact::Unknown, Fact::Is);
    if to.is_none() || service.is_none() {
        let hint = "a flow goes to = \"192.0.2.1\", and its service is port = \"tcp/443\"";
        section.error("the flow has no `to` or no `port`", Some(hint.to_owned()));
    }
    let learned = |name| FlowName {
        name,
        source: NameSource::Dns,
    };
    let flow = KnownFlow {
        apps: app.into_iter().collect(),
        names: Some(names.into_iter().map(learned).collect()),
        country: country.unwrap_or_default(),
        continent: continent.unwrap_or_default(),
        system,
        lists,
        context,
        ..KnownFlow::new(direction.unwrap_or(Direction::Out), to??, service??)
    };
    let Some(from) = from else {
        return Some(flow);
    };
    let flow = flow.from_address(from?);
    if flow.is_none() {
        let hint = "write two addresses of IPv4, or two of IPv6";
        section.error(
            "`from` and `to` are of different families",
            Some(hint.to_owned()),
        );
    }
    flow
}

/// The program; absent, it is not known.
fn read_app(section: &Section<'_>) -> Option<App> {
    let path = section.string("app");
    let uid = section.integer("uid");
    let (user, unit) = (section.string("user"), section.string("unit"));
    let container = section.string("container");
    let parents = section.strings("parent").unwrap_or_default();
    let identity = read_facts(section);
    let Some(path) = path else {
        let more = uid.is_some() || user.is_some() || unit.is_some() || container.is_some();
        if more || !parents.is_empty() || !identity.looked_at().is_empty() {
            let hint = "add app = \"/usr/bin/curl\"; without one the program is not known";
            section.error("the flow has no `app`", Some(hint.to_owned()));
        }
        return None;
    };
    Some(App {
        command_line: vec![path.clone()],
        user,
        parents: parents.into_iter().map(PathBuf::from).collect(),
        unit,
        container,
        identity,
        ..App::new(path, uid.unwrap_or(0))
    })
}

fn read<T>(
    section: &Section<'_>,
    key: &'static str,
    read: impl FnMut(&Item<'_>) -> Option<T>,
) -> Vec<T> {
    let item = section.item(key);
    item.map(|item| read_list(&item, read)).unwrap_or_default()
}

fn address(text: &str) -> Result<IpAddr, Refusal> {
    text.parse().map_err(|_| {
        Refusal::new(
            format!("\"{text}\" is no address"),
            "write an address; names go to `name`",
        )
    })
}

/// `none`, or what `parse` reads.
fn read_fact<T>(
    item: &Item<'_>,
    parse: impl FnOnce(&str) -> Option<T>,
    message: &str,
    hint: &str,
) -> Fact<T> {
    let fact = item.parse(|text| match text {
        "none" => Ok(Fact::Absent),
        _ => parse(text)
            .map(Fact::Is)
            .ok_or_else(|| Refusal::new(format!("\"{text}\" is {message}"), hint)),
    });
    fact.unwrap_or(Fact::Unknown)
}
