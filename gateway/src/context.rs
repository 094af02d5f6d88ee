//! When and where the gateway is, as rules with `when`, `profile` and `expires` ask for it.

use tidegate_platform::host::HostNetwork;
use tidegate_platform::local_time;
use tidegate_policy::{Context, Network, NetworkNeeds, Policy, ProfileChoice};

/// Looks at the clock, and at the host's network as far as some rule asks for it.
pub(crate) fn look(policy: &Policy, profile: ProfileChoice) -> Context {
    let needs = policy.network_needs();
    Context {
        clock: Some(local_time::now()),
        network: needs.any.then(|| network(needs)).flatten(),
        profile,
    }
}

/// What cannot be read is not known: no rule on the network counts then.
fn network(needs: NetworkNeeds) -> Option<Network> {
    let failed = |error: &dyn std::error::Error| {
        tracing::warn!(%error, "the network is not known: rules on it do not count");
    };
    let mut network = HostNetwork::open().map_err(|error| failed(&error)).ok()?;
    let found = network.whereabouts(needs);
    found.map_err(|error| failed(&error)).ok()
}
