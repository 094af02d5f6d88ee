//! From what compiled lists say of an address or a name to the lists that a policy knows.

use super::compiled::{Answer, Compiled, ListSet};
use super::{Effect, ListDefinition};
use crate::facts::ListId;
use crate::policy::Policy;

/// What rules and protections call lists, in the lists of one compiled file.
///
/// A list has what its own entries say: an exception in one list is no exception from another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Binding {
    /// Of each [`ListId`] the lists that it stands for.
    called: Vec<ListSet>,
    /// Lists of what is allowed.
    allowing: ListSet,
    unloaded: Vec<ListId>,
}

impl Binding {
    /// Finds the lists of `policy` in `compiled`; without a file none is loaded.
    pub fn new<B: AsRef<[u8]>>(policy: &Policy, compiled: Option<&Compiled<B>>) -> Self {
        let configured = policy.list_definitions();
        let named = |name: &str| {
            compiled.map_or(ListSet::EMPTY, |compiled| {
                compiled
                    .lists()
                    .filter(|(_, info)| info.name == name)
                    .map(|(list, _)| list)
                    .collect()
            })
        };
        let mut binding = Self::default();
        for (id, (position, name)) in (0..).map(ListId).zip(policy.lists().iter().enumerate()) {
            let members: Vec<&str> = match position {
                own if own < configured.len() => vec![name],
                _ => called(configured, name).collect(),
            };
            if members.iter().any(|member| named(member).is_empty()) {
                binding.unloaded.push(id);
            }
            let sets = members.into_iter().map(named);
            binding.called.push(sets.fold(ListSet::EMPTY, ListSet::or));
        }
        let allowing = configured
            .iter()
            .filter(|list| list.effect() == Effect::Allow);
        binding.allowing = allowing.fold(ListSet::EMPTY, |all, list| all.or(named(&list.name)));
        binding
    }

    /// Lists of which nobody can say what is on them, as they, or some of what a category holds, are not loaded.
    pub fn unloaded(&self) -> &[ListId] {
        &self.unloaded
    }

    /// Calls `visit` with each list that has what was answered about, in their order.
    pub fn each(&self, answer: &Answer, mut visit: impl FnMut(ListId)) {
        let said = answer.lists();
        if said.is_empty() {
            return;
        }
        let has = |list| {
            let own = ListSet::from(list);
            let effect = if self.allowing.and(own).is_empty() {
                Effect::Block
            } else {
                Effect::Allow
            };
            answer.effect(own) == Some(effect)
        };
        let having: ListSet = said.iter().filter(|list| has(*list)).collect();
        for (id, lists) in (0..).map(ListId).zip(&self.called) {
            if !lists.and(having).is_empty() {
                visit(id);
            }
        }
    }
}

/// The configured lists of this name or in this category.
fn called<'l>(configured: &'l [ListDefinition], name: &'l str) -> impl Iterator<Item = &'l str> {
    let meant = move |list: &&ListDefinition| {
        &*list.name == name || list.categories.iter().any(|category| &**category == name)
    };
    configured.iter().filter(meant).map(|list| &*list.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::list::compiled::{Builder, Context, ListInfo};
    use crate::list::parse::{Settings, parse};
    use crate::{Document, PolicySource};

    const TEXT: &str = r#"
        [[list]]
        name = "ads"
        source = "/ads"
        category = "bad"

        [[list]]
        name = "mine"
        source = "/mine"
        action = "allow"

        [[list]]
        name = "late"
        source = "/late"
        category = "worse"

        [[rule]]
        to = ["list:bad", "list:worse", "list:ads"]
        action = "block"
    "#;

    fn policy() -> Policy {
        let document = Document::parse("t.toml", TEXT).unwrap();
        let mut source = PolicySource::default();
        source.read_main(&document);
        assert_eq!((document.finish(), source.review()), (vec![], vec![]));
        Policy::compile(source)
    }

    fn compiled() -> Compiled<Vec<u8>> {
        let mut builder = Builder::new(1);
        // In another order than they are configured, and with one that no longer is.
        let lists = [
            ("gone", "198.51.100.0/24\n", Effect::Block),
            ("mine", "192.0.2.7\n", Effect::Allow),
            (
                "ads",
                "||192.0.2.7^\n||192.0.2.8^\n@@||192.0.2.8^\n",
                Effect::Block,
            ),
        ];
        for (name, text, effect) in lists {
            let list = builder.list(ListInfo::new(name)).unwrap();
            let settings = Settings {
                effect,
                ..Settings::default()
            };
            let report = parse(text.as_bytes(), &settings, |entry| builder.add(list, entry));
            assert_eq!(report.accepted, text.lines().count(), "{report}");
        }
        Compiled::open(builder.finish().unwrap()).unwrap()
    }

    fn on(address: &str) -> Vec<String> {
        let (policy, compiled) = (policy(), compiled());
        let binding = Binding::new(&policy, Some(&compiled));
        let answer = compiled.address(address.parse().unwrap(), &Context::default());
        let mut on = Vec::new();
        binding.each(&answer, |ListId(id)| {
            let name = &policy.lists()[usize::try_from(id).unwrap()];
            on.push(format!("{id} {name}"));
        });
        on
    }

    #[test]
    fn a_list_has_what_its_own_entries_say_and_a_category_what_its_lists_have() {
        assert_eq!(on("192.0.2.7"), ["0 ads", "1 mine", "3 bad", "5 ads"]);
        // The list's own exception.
        assert_eq!(on("192.0.2.8"), [""; 0]);
        // Of a list that is no longer configured.
        assert_eq!(on("198.51.100.1"), [""; 0]);
    }

    #[test]
    fn lists_that_are_not_in_the_file_are_known_to_be_missing() {
        let policy = policy();
        let binding = Binding::new(&policy, Some(&compiled()));
        assert_eq!(binding.unloaded(), [ListId(2), ListId(4)]);
        let none = Binding::new::<Vec<u8>>(&policy, None);
        assert_eq!(none.unloaded().len(), policy.lists().len());
    }
}
