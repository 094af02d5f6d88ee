//! Which of the flows that may be evicted was quiet for longest.
//!
//! A doubly linked list threaded through the slots of the flow table, so that "this one spoke just now" and "who is the
//! quietest" cost a few stores, whatever the number of flows.

/// No neighbour.
const NONE: usize = usize::MAX;

#[derive(Clone, Copy, Debug)]
struct Links {
    older: usize,
    younger: usize,
}

/// The list. Slots are named by their index in the flow table.
#[derive(Debug)]
pub(crate) struct Recency {
    links: Vec<Option<Links>>,
    oldest: usize,
    youngest: usize,
}

impl Default for Recency {
    fn default() -> Self {
        Self {
            links: Vec::new(),
            oldest: NONE,
            youngest: NONE,
        }
    }
}

impl Recency {
    /// The slot spoke just now; it enters the list if it was not there.
    pub(crate) fn touch(&mut self, slot: usize) {
        if self.youngest == slot {
            return;
        }
        self.remove(slot);
        if self.links.len() <= slot {
            self.links.resize(slot + 1, None);
        }
        self.links[slot] = Some(Links {
            older: self.youngest,
            younger: NONE,
        });
        match self.links.get_mut(self.youngest) {
            Some(Some(youngest)) => youngest.younger = slot,
            _ => self.oldest = slot,
        }
        self.youngest = slot;
    }

    /// Takes the slot off the list, if it is there.
    pub(crate) fn remove(&mut self, slot: usize) {
        let Some(links) = self.links.get_mut(slot).and_then(Option::take) else {
            return;
        };
        match self.links.get_mut(links.older) {
            Some(Some(older)) => older.younger = links.younger,
            _ => self.oldest = links.younger,
        }
        match self.links.get_mut(links.younger) {
            Some(Some(younger)) => younger.older = links.older,
            _ => self.youngest = links.older,
        }
    }

    /// The slot that was quiet for longest.
    pub(crate) fn oldest(&self) -> Option<usize> {
        self.oldest_first().next()
    }

    /// All slots, the one that was quiet for longest first.
    pub(crate) fn oldest_first(&self) -> impl Iterator<Item = usize> {
        let younger = |slot: &usize| self.links.get(*slot)?.map(|links| links.younger);
        std::iter::successors(Some(self.oldest), younger).take_while(|slot| *slot != NONE)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn orders_slots_as_a_plain_list_does(steps in prop::collection::vec((any::<bool>(), 0usize..12), 0..200)) {
            let mut recency = Recency::default();
            let mut model: Vec<usize> = Vec::new();
            for (touch, slot) in steps {
                model.retain(|&other| other != slot);
                if touch {
                    model.push(slot);
                    recency.touch(slot);
                } else {
                    recency.remove(slot);
                }
                prop_assert_eq!(recency.oldest(), model.first().copied());
                prop_assert_eq!(&recency.oldest_first().collect::<Vec<_>>(), &model);
                prop_assert_eq!(recency.youngest, model.last().copied().unwrap_or(NONE));
            }
        }
    }
}
