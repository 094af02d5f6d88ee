//! Rules that count at a time, in a network or in a profile: live flows are judged again when that begins or ends.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tidegate_lab::{Background, Daemon, Lab, User, address, service, wait_until};

/// A live flow is cut this soon after what its rule asks for has changed; the limit is a second, the rest is the test's own.
const SOON: Duration = Duration::from_millis(2000);
const PATIENCE: Duration = Duration::from_secs(5);
/// How far ahead a rule's time is: longer than the start takes.
const AHEAD: u64 = 12;

/// A rule about the server, and one about another address that always lets pass.
fn rules(conditions: &str, action: &str) -> String {
    format!(
        "[[rule]]\nname = \"the other\"\nto = \"{}\"\naction = \"allow\"\n\
         [[rule]]\nname = \"the rule\"\nto = \"{}\"\n{conditions}\naction = \"{action}\"\n",
        address::OTHER_V4,
        address::SERVER_V4
    )
}

/// Two connections on which bytes drip, to the server and to its other address.
struct Drips {
    judged: Background,
    other: Background,
}

impl Drips {
    fn start(lab: &Lab) -> Result<Self> {
        let drip = |server| {
            let job = lab
                .host
                .background(&format!("exec curl -sSN http://{server}/drip"))?;
            job.wait_for_output("drip")?;
            anyhow::Ok(job)
        };
        Ok(Self {
            judged: drip(address::SERVER_V4)?,
            other: drip(address::OTHER_V4)?,
        })
    }

    /// The one is cut by its rule, new ones are refused, and the other goes on.
    fn ensure_cut(&mut self, lab: &Lab, tidegate: &Daemon<'_>) -> Result<()> {
        let judged = &mut self.judged;
        wait_until("the flow is cut", SOON, || judged.has_ended())
            .with_context(|| format!("{:?}", tidegate.status()))?;
        ensure!(!self.other.has_ended(), "{}", self.other.output());
        ensure_word(lab, "ECONNREFUSED")
    }
}

fn ensure_word(lab: &Lab, word: &str) -> Result<()> {
    let seen = lab.host.connect(address::SERVER_V4, 80, PATIENCE)?;
    ensure!(seen.word == word, "{seen:?}");
    Ok(())
}

/// What `date` prints for that long ahead.
fn date(lab: &Lab, seconds: u64, form: &str) -> Result<String> {
    let date = format!("date -d '+{seconds} seconds' '{form}'");
    Ok(lab.host.bash(&date)?.success()?.trim().to_owned())
}

/// The flow passes until `AHEAD` after `before`, and no longer.
fn is_cut_in_time(lab: &Lab, before: Instant, config: &str) -> Result<()> {
    let tidegate = lab.tidegate(config)?;
    let mut drips = Drips::start(lab)?;
    let begins = before + Duration::from_secs(AHEAD);
    // The clock of day counts whole seconds: it may be there up to a second early.
    while Instant::now() + Duration::from_millis(1200) < begins {
        ensure!(!drips.judged.has_ended(), "cut before its time");
        std::thread::sleep(Duration::from_millis(50));
    }
    wait_until("the time has come", 2 * SOON, || Instant::now() >= begins)?;
    drips.ensure_cut(lab, &tidegate)
}

#[test]
fn a_live_flow_is_cut_when_the_hour_of_its_rule_comes() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let before = Instant::now();
    let from = date(&lab, AHEAD, "+%T")?;
    let to = date(&lab, 7200, "+%H:%M")?;
    let hours = format!("when = {{ time = \"{from}-{to}\" }}");
    is_cut_in_time(&lab, before, &rules(&hours, "block"))
}

#[test]
fn a_live_flow_is_cut_when_the_rule_that_let_it_pass_expires() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let before = Instant::now();
    let expires = date(&lab, AHEAD, "+%FT%T%:z")?;
    let config = format!(
        "[policy]\ndefault = \"block\"\n{}",
        rules(&format!("expires = {expires}"), "allow")
    );
    is_cut_in_time(&lab, before, &config)
}

/// Starts under a rule that does not count yet, has `change` made, and sees the flow cut; takes it back, and sees new ones pass.
fn flips(lab: &Lab, conditions: &str, change: &str, back: &str) -> Result<()> {
    let _web = service::Http::start(&lab.server, 80)?;
    let tidegate = lab.tidegate(&rules(conditions, "block"))?;
    let mut drips = Drips::start(lab)?;
    std::thread::sleep(SOON);
    ensure!(!drips.judged.has_ended(), "cut before the change");
    lab.host.bash(&format!("set -e\n{change}"))?.success()?;
    drips.ensure_cut(lab, &tidegate)?;
    lab.host.bash(&format!("set -e\n{back}"))?.success()?;
    wait_until("the rule no longer counts", SOON, || {
        ensure_word(lab, "connected").is_ok()
    })
}

#[test]
fn a_live_flow_is_cut_when_the_uplink_is_the_one_of_its_rule() -> Result<()> {
    let lab = Lab::new()?;
    lab.second_uplink()?;
    let conditions = "when = { network = { interface = \"up1\" } }";
    flips(
        &lab,
        conditions,
        "ip route add default via 192.168.77.1 dev up0 metric 50
ip route add default via 192.168.78.1 dev up1 metric 5
ip route del default via 192.168.77.1 dev up0 metric 0",
        "ip route del default via 192.168.78.1 dev up1",
    )
}

#[test]
fn a_live_flow_is_cut_when_the_router_is_the_one_of_its_rule() -> Result<()> {
    let lab = Lab::new()?;
    let router = |mac| format!("ip neighbour replace 192.168.77.1 lladdr {mac} dev up0");
    // As the kernel shows it: `down0 UP 02:... <flags>`.
    let shown = lab.router.bash("ip -brief link show down0")?.success()?;
    let own = shown.split_whitespace().nth(2).context("no address")?;
    let other = "02:00:5e:10:00:01";
    let conditions = format!("when = {{ network = {{ gateway-mac = \"{other}\" }} }}");
    flips(&lab, &conditions, &router(other), &router(own))
}

#[test]
fn a_live_flow_is_cut_when_a_vpn_comes_up() -> Result<()> {
    let lab = Lab::new()?;
    let tunnel = lab.host.python_background_as(User::ROOT, TUNNEL)?;
    tunnel.wait_for_output("ready")?;
    flips(
        &lab,
        "when = { network = { vpn = true } }",
        // In a table that no rule leads to: the flow itself goes on as it was.
        "ip link set vpn0 up\nip route add 128.0.0.0/1 dev vpn0 table 77",
        "ip route del 128.0.0.0/1 dev vpn0 table 77",
    )
}

/// Holds a TUN device.
const TUNNEL: &str = "
import fcntl, os, struct
tun = os.open('/dev/net/tun', os.O_RDWR)
fcntl.ioctl(tun, 0x400454ca, struct.pack('16sH22x', b'vpn0', 0x1001))
print('ready', flush=True)
while os.read(tun, 2000): pass";

#[test]
fn a_profile_is_chosen_by_hand_and_kept_over_a_restart() -> Result<()> {
    let lab = Lab::new()?;
    // The choice is kept beneath it.
    lab.host.bash("mount -t tmpfs lab /var/lib")?.success()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let config = format!(
        "[[profile]]\nname = \"travel\"\n[[profile]]\nname = \"always\"\nwhen = {{ time = \"00:00-24:00\" }}\n{}",
        rules("profile = \"travel\"", "block")
    );
    let mut tidegate = lab.tidegate(&config)?;
    let mut drips = Drips::start(&lab)?;
    ensure!(active(&tidegate)? == ["always"]);
    let unknown = tidegate.ask(&["profile", "use", "home"])?.failure()?;
    ensure!(unknown.contains("no profile \"home\""), "{unknown}");
    tidegate.ask(&["profile", "use", "travel"])?.success()?;
    drips.ensure_cut(&lab, &tidegate)?;
    ensure!(active(&tidegate)? == ["travel"]);
    ensure!(tidegate.process().stop()? == 0);
    drop(tidegate);
    let tidegate = lab.tidegate(&config)?;
    ensure!(active(&tidegate)? == ["travel"]);
    ensure_word(&lab, "ECONNREFUSED")?;
    let said = tidegate.ask(&["profile", "use", "auto"])?.success()?;
    ensure!(said.contains("auto, each by its own conditions"), "{said}");
    ensure_word(&lab, "connected")?;
    ensure!(active(&tidegate)? == ["always"]);
    Ok(())
}

/// The profiles that are active, by `profile list` and by `status`.
fn active(tidegate: &Daemon<'_>) -> Result<Vec<String>> {
    let listed = tidegate.ask(&["profile", "list", "--json"])?.success()?;
    let listed: Value = serde_json::from_str(&listed)?;
    ensure!(tidegate.status()?["policy"]["profiles"] == listed);
    let all = listed["all"].as_array().context("no profiles")?;
    let active = all.iter().filter(|profile| profile["active"] == true);
    let names = active.filter_map(|profile| profile["name"].as_str());
    Ok(names.map(str::to_owned).collect())
}
