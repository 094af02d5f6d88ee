//! One `[[rule]]`.

use super::app::read_app;
use super::destinations::Destinations;
use super::values::read_selection;
use super::{DIRECTIONS, VERDICTS};
use crate::document::Section;
use crate::facts::Direction;
use crate::port::Port;
use crate::rule::{Rule, RuleInfo};

/// Absent when the rule cannot be used; the reason was noted. All its keys are read in any case.
pub(super) fn read_rule(
    section: &Section<'_>,
    destinations: &mut Destinations<'_>,
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
    if section.item("action").is_none() {
        section.error(
            "the rule has no `action`",
            Some("add action = \"allow\", \"ask\", \"block\" or \"drop\"".to_owned()),
        );
    }
    let action = section.choice("action", &VERDICTS)?;
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
    })
}
