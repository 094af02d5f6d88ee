//! Maps keyed by what strangers choose: addresses and ports.
//!
//! Whoever can choose keys that share a bucket makes every look-up as slow as the map is long. A hash that only starts from a
//! secret does not keep him from it: what collides under one secret collides under all. Here the secret goes into every step.

use std::collections::HashMap;

/// A map keyed by what strangers choose.
pub type KeyedMap<K, V> = HashMap<K, V, KeyedHash>;

/// How such a map hashes.
pub type KeyedHash = ahash::RandomState;

/// A hash with this secret, which nobody outside may know.
#[must_use]
pub fn keyed_hash(secret: u64) -> KeyedHash {
    KeyedHash::with_seeds(secret, 1, 2, 3)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::BuildHasher;
    use std::net::{Ipv6Addr, SocketAddr};

    use super::*;

    /// Addresses that rustc-hash 2 gives one hash whatever it starts from: the second word makes up for the first.
    fn colliding(count: u64) -> impl Iterator<Item = SocketAddr> {
        const K: u64 = 0xf135_7aea_2e62_a9c5;
        (0..count).map(|low| {
            let high = 0x2001_0db8_u64.wrapping_sub(low.wrapping_mul(K));
            let [a, b] = [low, high].map(u128::from);
            SocketAddr::from((Ipv6Addr::from((b << 64 | a).swap_bytes()), 443))
        })
    }

    #[test]
    fn addresses_that_collide_without_the_secret_do_not_with_it() {
        let weak = rustc_hash::FxSeededState::with_seed(7);
        let distinct = |hashes: HashSet<u64>| hashes.len();
        assert_eq!(
            distinct(colliding(1000).map(|key| weak.hash_one(key)).collect()),
            1
        );
        for secret in [0, 7, u64::MAX] {
            let keyed = keyed_hash(secret);
            let buckets = |key| keyed.hash_one(key) >> 44;
            assert!(distinct(colliding(1000).map(buckets).collect()) > 990);
        }
    }
}
