//! One `[[rule]]`.

use super::app::read_app;
use super::destinations::Destinations;
use super::values::read_selection;
use super::when::{ProfileUse, read_when};
use super::{DIRECTIONS, VERDICTS};
use crate::document::Section;
use crate::facts::Direction;
use crate::port::Port;
use crate::rule::{Rule, RuleInfo};
use crate::verdict::Verdict;

/// Out through the host's own network.
const DIRECT: &str = "direct";

/// Absent when the rule cannot be used; the reason was noted. All its keys are read in any case.
pub(super) fn read_rule(
    section: &Section<'_>,
    destinations: &mut Destinations<'_>,
    profiles: &mut Vec<ProfileUse>,
) -> Option<Rule> {
    let name = section.string("name");
    let app = section.item("app").map(read_app);
    let to = section
        .item("to")
        .map(|item| read_selection(&item, |item| destinations.read(item)));
    let from = section
        .item("from")
        .map(|item| read_selection(&item, |item| destinations.read_near_end(item)));
    let port = section
        .item("port")
        .map(|item| read_selection(&item, |item| item.parse(Port::parse)));
    let direction = section
        .choice("direction", &DIRECTIONS)
        .unwrap_or(Direction::Out);
    let when = read_when(section, profiles);
    if section.item("action").is_none() {
        section.error(
            "the rule has no `action`",
            Some("add action = \"allow\", \"ask\", \"block\" or \"drop\"".to_owned()),
        );
    }
    let action = section.choice("action", &VERDICTS);
    read_egress(section, action);
    let action = action?;
    Some(Rule {
        info: RuleInfo {
            name,
            origin: section.origin(),
            action,
        },
        app,
        from,
        to,
        port,
        direction,
        when,
    })
}

/// The one way out that there is; another is refused, and so is one for flows that do not go out.
fn read_egress(section: &Section<'_>, action: Option<Verdict>) {
    let Some(item) = section.item("egress") else {
        return;
    };
    if item.text().is_some_and(|name| name != DIRECT) {
        let hint =
            "this version has one: egress = \"direct\", which also holds where the key is left out";
        item.error("there is no such egress", Some(hint.to_owned()));
    } else if action.is_some_and(|action| action != Verdict::Allow) {
        let hint = "leave `egress` out";
        item.error("what is not allowed takes no egress", Some(hint.to_owned()));
    }
}
