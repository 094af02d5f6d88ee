//! The programs that trace a route name the routers on it under either capture, as they would without us.

use anyhow::{Context, Result, ensure};
use tidegate_lab::{Capture, Lab, User, address, under_both_captures};

/// A server, and the router that every packet to it meets first.
const ROUTES: [(&str, &str); 2] = [
    (address::SERVER_V4, address::ROUTER_V4),
    (address::SERVER_V6, address::ROUTER_V6),
];

under_both_captures! {
    traceroute_by_datagrams_names_the_router_and_the_server,
    an_ordinary_user_s_traceroute_does_so_too,
}

fn traceroute_by_datagrams_names_the_router_and_the_server(capture: Capture) -> Result<()> {
    traces(capture, User::ROOT, "")
}

fn an_ordinary_user_s_traceroute_does_so_too(capture: Capture) -> Result<()> {
    traces(capture, User::ALICE, "")
}

/// Each of the three probes of either hop is answered, by who should.
fn traces(capture: Capture, user: User, how: &str) -> Result<()> {
    let lab = Lab::new()?;
    // The server answers every probe, however many come at once.
    lab.server.sysctl("net.ipv4.icmp_ratelimit", "0")?;
    lab.server.sysctl("net.ipv6.icmp.ratelimit", "0")?;
    let session = lab.captured_as(capture, user, "")?;
    for (server, router) in ROUTES {
        let said = session.bash(&format!("traceroute -n -w 5 {how} {server}"))?;
        let said = said.success()?;
        let hops: Vec<_> = said.lines().skip(1).collect();
        let [first, last] = hops[..] else {
            anyhow::bail!("not two hops: {said}");
        };
        for (hop, expected) in [(first, router), (last, server)] {
            let mut words = hop.split_whitespace().skip(1);
            let named = words.next().context("a hop without a word")?;
            ensure!(named == expected, "{said}");
            // Times follow, and nothing else: no asterisk, no mark of an error, no other address.
            let rest: Vec<_> = words.filter(|word| *word != "ms").collect();
            ensure!(rest.len() == 3, "{said}");
            ensure!(
                rest.iter().all(|word| word.parse::<f64>().is_ok()),
                "{said}"
            );
        }
    }
    Ok(())
}
