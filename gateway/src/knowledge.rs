//! What is known of a flow's other end, in the terms of one policy.

use std::net::IpAddr;
use std::sync::Arc;

use tidegate_policy::list::Binding;
use tidegate_policy::list::compiled::{Answer, Context, MOST_LISTS};
use tidegate_policy::{FlowName, ListId, Names, Peer, Policy};

use crate::library::{Library, Lists, Places};

/// Lists and places, bound to the policy that asks about them.
#[derive(Debug, Default)]
pub struct Knowledge {
    lists: Option<Arc<Lists>>,
    binding: Binding,
    places: Arc<Places>,
}

/// Room for the lists that one flow's other end is on.
#[derive(Debug)]
pub struct ListBuffer {
    ids: [ListId; ROOM],
    len: usize,
}

/// A policy knows no more: twice as many lists as a file holds.
const ROOM: usize = 2 * MOST_LISTS;

impl Default for ListBuffer {
    fn default() -> Self {
        Self {
            ids: [ListId(0); ROOM],
            len: 0,
        }
    }
}

impl ListBuffer {
    fn add(&mut self, list: ListId) {
        let is_new = !self.ids[..self.len].contains(&list);
        if is_new && let Some(place) = self.ids.get_mut(self.len) {
            *place = list;
            self.len += 1;
        }
    }
}

impl Knowledge {
    /// What the library knows, in the terms of `policy`.
    pub fn new(policy: &Policy, library: &Library) -> Self {
        let lists = library.lists();
        Self {
            binding: Binding::new(policy, lists.as_deref()),
            lists,
            places: library.places(),
        }
    }

    /// What is known of another end with this address and these names. Allocates nothing.
    pub fn about<'a>(
        &'a self,
        address: IpAddr,
        names: &'a [FlowName],
        buffer: &'a mut ListBuffer,
    ) -> Peer<'a> {
        let places = self.places.of(address);
        let lists = match &self.lists {
            None => tidegate_policy::Lists::Unknown,
            Some(lists) => {
                let context = Context::default();
                let mut note = |answer: Answer| {
                    self.binding.each(&answer, |list| buffer.add(list));
                };
                note(lists.address(address, &context));
                for known in names {
                    note(lists.name(&known.name, &context));
                }
                tidegate_policy::Lists::On(&buffer.ids[..buffer.len])
            }
        };
        Peer {
            names: Names::Known(names),
            country: places.country,
            continent: places.continent,
            system: places.system,
            lists,
            unloaded: self.binding.unloaded(),
        }
    }
}
