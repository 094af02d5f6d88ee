//! Who holds upstream sockets, and how many; and who gives how many up where they run out.
//!
//! Who holds most gives first, until it holds no more than the next. So who holds few loses none to who holds many, and a
//! newcomer who is himself the largest takes from himself. Users and networks are compared first, and within them programs
//! and hosts.

use std::hash::Hash;

use rustc_hash::{FxHashMap, FxHashSet};
use slab::Slab;
use tidegate_netstack::keyed::{KeyedHash, KeyedMap};

use super::caller::{Caller, Household};

/// Names one of the [`Holders`].
pub(super) type HolderId = usize;

/// What is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// A UDP socket, which can be given up.
    Udp { ipv6: bool },
    /// Any other.
    Other,
}

/// What has run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scarce {
    /// Ports for UDP sockets of this family.
    Ports { ipv6: bool },
    /// Sockets of any kind.
    Sockets,
}

impl Scarce {
    /// Whether a UDP socket of this family is what has run out.
    pub(super) fn is_met_by(self, ipv6: bool) -> bool {
        match self {
            Self::Ports { ipv6: scarce } => scarce == ipv6,
            Self::Sockets => true,
        }
    }
}

/// All callers that hold sockets.
#[derive(Debug)]
pub(super) struct Holders {
    by_caller: KeyedMap<Caller, HolderId>,
    all: Slab<Holder>,
}

#[derive(Debug)]
struct Holder {
    caller: Caller,
    udp: [usize; 2],
    others: usize,
}

impl Holder {
    fn count(&mut self, held: Held) -> &mut usize {
        match held {
            Held::Udp { ipv6 } => &mut self.udp[usize::from(ipv6)],
            Held::Other => &mut self.others,
        }
    }

    fn holding(&self, scarce: Scarce) -> Holding {
        match scarce {
            Scarce::Ports { ipv6 } => {
                let udp = self.udp[usize::from(ipv6)];
                Holding {
                    all: udp,
                    free: udp,
                }
            }
            Scarce::Sockets => {
                let udp = self.udp[0] + self.udp[1];
                Holding {
                    all: udp + self.others,
                    free: udp,
                }
            }
        }
    }

    fn holds_nothing(&self) -> bool {
        self.udp == [0; 2] && self.others == 0
    }
}

/// How much one holds of what is scarce, and what of that it can give up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Holding {
    all: usize,
    free: usize,
}

impl Holding {
    /// What it gives to hold no more than `level`.
    fn above(self, level: usize) -> usize {
        self.all.saturating_sub(level).min(self.free)
    }
}

impl Holders {
    pub(super) fn new(hash: KeyedHash) -> Self {
        Self {
            by_caller: KeyedMap::with_hasher(hash),
            all: Slab::new(),
        }
    }

    /// The caller holds one more.
    pub(super) fn take(&mut self, caller: Caller, held: Held) -> HolderId {
        let all = &mut self.all;
        let id = *self.by_caller.entry(caller).or_insert_with_key(|caller| {
            all.insert(Holder {
                caller: caller.clone(),
                udp: [0; 2],
                others: 0,
            })
        });
        if let Some(holder) = all.get_mut(id) {
            *holder.count(held) += 1;
        }
        id
    }

    /// It holds one less.
    pub(super) fn give_back(&mut self, id: HolderId, held: Held) {
        let Some(holder) = self.all.get_mut(id) else {
            return;
        };
        *holder.count(held) -= 1;
        if holder.holds_nothing() {
            let gone = self.all.remove(id);
            self.by_caller.remove(&gone.caller);
        }
    }

    /// Whether this is the caller.
    pub(super) fn is(&self, id: HolderId, caller: &Caller) -> bool {
        self.all
            .get(id)
            .is_some_and(|holder| holder.caller == *caller)
    }

    /// Who gives up how many where `newcomer` wants one more and `most` at once are to come free.
    pub(super) fn shares(&self, scarce: Scarce, newcomer: &Caller, most: usize) -> Shares {
        let mut households: FxHashMap<Household, Vec<(HolderId, Holding)>> = FxHashMap::default();
        for (id, holder) in &self.all {
            let of_household = households.entry(holder.caller.household()).or_default();
            of_household.push((id, holder.holding(scarce)));
        }
        let own = newcomer.household();
        let sums = households.iter().map(|(household, holders)| {
            let all = holders.iter().map(|(_, holding)| holding.all).sum();
            let free = holders.iter().map(|(_, holding)| holding.free).sum();
            (*household, Holding { all, free })
        });
        let newcomer = self.by_caller.get(newcomer).copied();
        let mut shares = Shares::default();
        for (household, of_household) in give(&sums.collect::<Vec<_>>(), Some(&own), most) {
            let newcomer = newcomer.filter(|_| household == own);
            let holders = households.get(&household).map_or(&[][..], Vec::as_slice);
            let holders_give = give(holders, newcomer.as_ref(), of_household);
            let of_holders: usize = holders_give.iter().map(|(_, gives)| gives).sum();
            shares.left += of_holders.min(of_household);
            for (holder, of_holder) in holders_give {
                shares.of_holder.insert(holder, (household, of_holder));
            }
            shares.of_household.insert(household, of_household);
        }
        shares
    }
}

/// Who of these gives how many, so that `most` come free at least, or as many as there are: all that they hold above one
/// level. That is not below what the `newcomer` holds, but for those `most`.
fn give<K: Copy + Eq + Hash>(
    holdings: &[(K, Holding)],
    newcomer: Option<&K>,
    most: usize,
) -> Vec<(K, usize)> {
    let with_newcomer = holdings.iter().map(|(key, holding)| {
        let all = holding.all + usize::from(newcomer == Some(key));
        (*key, Holding { all, ..*holding })
    });
    let holdings: Vec<(K, Holding)> = with_newcomer.collect();
    let all_of = |(_, holding): &(K, Holding)| holding.all;
    let own = holdings.iter().find(|(key, _)| newcomer == Some(key));
    let mut low = own.map_or(0, all_of).saturating_sub(most);
    let mut high = holdings.iter().map(all_of).max().unwrap_or(0);
    let freed = |level: usize| -> usize {
        let above = holdings.iter().map(|(_, holding)| holding.above(level));
        above.sum()
    };
    // The highest level that frees enough; the lowest that is allowed if none does.
    while low < high {
        let middle = high - (high - low) / 2;
        match freed(middle) >= most {
            true => low = middle,
            false => high = middle - 1,
        }
    }
    let gives = holdings
        .iter()
        .map(|(key, holding)| (*key, holding.above(low)));
    gives.filter(|(_, gives)| *gives > 0).collect()
}

/// How many sockets each may still be asked to give up.
#[derive(Debug, Default)]
pub(super) struct Shares {
    of_household: FxHashMap<Household, usize>,
    of_holder: FxHashMap<HolderId, (Household, usize)>,
    /// All together.
    left: usize,
}

impl Shares {
    /// Those who are to give any up.
    pub(super) fn holders(&self) -> FxHashSet<HolderId> {
        self.of_holder.keys().copied().collect()
    }

    /// Whether all have given enough, or nobody is to give any.
    pub(super) fn are_used_up(&self) -> bool {
        self.left == 0
    }

    /// Asks this one for one; false if it has given enough.
    pub(super) fn take(&mut self, holder: HolderId) -> bool {
        let Some((household, of_holder)) = self.of_holder.get_mut(&holder) else {
            return false;
        };
        let Some(of_household) = self.of_household.get_mut(household) else {
            return false;
        };
        if *of_holder == 0 || *of_household == 0 {
            return false;
        }
        *of_holder -= 1;
        *of_household -= 1;
        self.left = self.left.saturating_sub(1);
        true
    }
}

#[cfg(test)]
mod tests {
    use tidegate_netstack::keyed::keyed_hash;

    use super::*;
    use crate::worker::caller::tests::caller;

    const UDP: Held = Held::Udp { ipv6: false };
    const PORTS: Scarce = Scarce::Ports { ipv6: false };

    fn program(uid: u32, path: &str) -> Caller {
        caller(uid, path, 1)
    }

    /// Who holds how many UDP sockets.
    fn holders(held: &[(&Caller, usize)]) -> Holders {
        let mut holders = Holders::new(keyed_hash(1));
        for (caller, count) in held {
            for _ in 0..*count {
                holders.take((*caller).clone(), UDP);
            }
        }
        holders
    }

    /// How many each gives where so many at once come free.
    fn given<const N: usize>(
        holders: &Holders,
        scarce: Scarce,
        newcomer: &Caller,
        most: usize,
        of: [&Caller; N],
    ) -> [usize; N] {
        let mut shares = holders.shares(scarce, newcomer, most);
        of.map(|caller| {
            let id = holders.by_caller.get(caller).copied();
            id.map_or(0, |id| {
                std::iter::repeat_with(|| shares.take(id))
                    .take_while(|taken| *taken)
                    .count()
            })
        })
    }

    #[test]
    fn who_holds_most_gives_and_who_holds_few_does_not() {
        let (busy, modest) = (program(1000, "/busy"), program(1000, "/modest"));
        let held = holders(&[(&busy, 500), (&modest, 20)]);
        let nobody = program(1000, "/new");
        for newcomer in [&busy, &modest, &nobody] {
            assert_eq!(given(&held, PORTS, newcomer, 3, [&busy, &modest]), [3, 0]);
        }
    }

    #[test]
    fn of_two_that_hold_as_many_the_newcomer_takes_from_itself() {
        let (one, other) = (program(1000, "/one"), program(1001, "/other"));
        let held = holders(&[(&one, 10), (&other, 10)]);
        assert_eq!(given(&held, PORTS, &one, 1, [&one, &other]), [1, 0]);
        assert_eq!(given(&held, PORTS, &other, 1, [&one, &other]), [0, 1]);
    }

    #[test]
    fn a_user_s_many_copies_of_a_program_take_nothing_from_another_user_s_only_one() {
        let copies: Vec<_> = (0..100)
            .map(|number| program(1000, &format!("/copy-{number}")))
            .collect();
        let only = program(1001, "/only");
        let mut held: Vec<_> = copies.iter().map(|copy| (copy, 1)).collect();
        held.push((&only, 60));
        let held = holders(&held);
        let newcomer = program(1000, "/copy-new");
        let mut shares = held.shares(PORTS, &newcomer, 4);
        assert!(!shares.holders().contains(&held.by_caller[&only]));
        let given = copies
            .iter()
            .filter(|copy| shares.take(held.by_caller[*copy]));
        assert_eq!(given.count(), 4, "and no more than are wanted");
        assert!(shares.are_used_up());
    }

    #[test]
    fn who_holds_most_of_what_cannot_be_given_up_takes_nothing_from_who_holds_few() {
        let (greedy, modest) = (program(1000, "/greedy"), program(1001, "/modest"));
        let mut held = holders(&[(&modest, 20)]);
        for _ in 0..1_000 {
            held.take(greedy.clone(), Held::Other);
        }
        let given = |newcomer| given(&held, Scarce::Sockets, newcomer, 1, [&greedy, &modest]);
        assert_eq!(given(&greedy), [0, 0]);
        assert!(held.shares(Scarce::Sockets, &greedy, 1).are_used_up());
        assert_eq!(given(&modest), [0, 1], "it may take from itself");
    }

    #[test]
    fn who_holds_nothing_any_more_is_forgotten() {
        let one = program(1000, "/one");
        let mut held = holders(&[]);
        let id = held.take(one.clone(), UDP);
        assert!(held.is(id, &one));
        held.take(one, Held::Other);
        held.give_back(id, UDP);
        held.give_back(id, Held::Other);
        assert!(held.all.is_empty() && held.by_caller.is_empty());
    }
}
