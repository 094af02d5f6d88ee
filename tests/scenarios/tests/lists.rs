//! Lists and databases of places decide about live flows, and news of them count at once, under either capture.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tidegate_lab::{
    Background, Capture, Job, Lab, Session, address, endpoint, service, under_both_captures,
    wait_until,
};

const PATIENCE: Duration = Duration::from_secs(20);
/// How soon a flow is cut after a list changed.
const CUT: Duration = Duration::from_secs(1);
const SERVER: &str = include_str!("../src/list_server.py");

under_both_captures! {
    a_list_of_addresses_refuses_what_is_on_it_and_its_news_cut_what_lives,
    a_country_is_known_by_the_database_that_is_named,
    a_list_is_fetched_over_tls_and_its_news_come_when_asked_for,
    whatever_a_server_does_the_last_good_list_stays,
}

fn list(more: &str) -> String {
    format!("[[list]]\nname = \"ads\"\nformat = \"addresses\"\naction = \"block\"\n{more}\n")
}

/// The way of a connection to each of the server's addresses.
fn ways(session: &Session<'_>) -> Result<(String, String)> {
    let word = |server| anyhow::Ok(session.connect(server, 80, PATIENCE)?.word);
    Ok((word(address::SERVER_V4)?, word(address::OTHER_V4)?))
}

fn is_refused(session: &Session<'_>, server: &str) -> bool {
    let outcome = session.connect(server, 80, PATIENCE);
    outcome.is_ok_and(|outcome| outcome.word == "ECONNREFUSED")
}

fn drip(session: &Session<'_>, server: &str) -> Result<Job> {
    let remote = endpoint(server, 80)?;
    let job = session.start(&format!("curl -sSN http://{remote}/drip"))?;
    job.wait_for_output("drip")?;
    Ok(job)
}

fn a_list_of_addresses_refuses_what_is_on_it_and_its_news_cut_what_lives(
    capture: Capture,
) -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let file = lab.file("ads.txt", "# a list\n203.0.113.20\n2001:db8:113::20\n")?;
    let listed = list(&format!("source = \"{}\"", file.display()));
    let session = lab.captured(capture, &listed)?;
    ensure!(ways(&session)? == ("connected".into(), "ECONNREFUSED".into()));
    ensure!(is_refused(&session, address::OTHER_V6));
    let flow = session.flow_to(address::OTHER_V4, 80)?;
    ensure!(
        flow["verdict"] == "block" && flow["rule"] == "list:ads",
        "{flow}"
    );
    let state = session.gateway().status()?["library"]["lists"][0].clone();
    ensure!(state["loaded"] == true && state["entries"] == 2, "{state}");

    let (cut, left) = (
        drip(&session, address::SERVER_V4)?,
        drip(&session, address::SERVER_V6)?,
    );
    fs::write(&file, "203.0.113.10\n")?;
    wait_until("the flow is cut", CUT, || cut.has_ended())
        .with_context(|| format!("{:?}", session.gateway().status()))?;
    ensure!(!left.has_ended(), "{}", left.errors());
    ensure!(ways(&session)? == ("ECONNREFUSED".into(), "connected".into()));

    // What cannot be read changes nothing but a message.
    fs::write(&file, "<html>\n<p>no list\n")?;
    wait_until("the problem is told", PATIENCE, || {
        let status = session.gateway().status().unwrap_or_default();
        status["health"] == "degraded" && status["library"]["lists"][0]["problem"].is_string()
    })?;
    ensure!(ways(&session)? == ("ECONNREFUSED".into(), "connected".into()));

    // A rule stands before every list.
    let rule = "[[rule]]\nto = \"203.0.113.10\"\naction = \"allow\"\n";
    session
        .gateway()
        .rewrite_config(&[&listed, rule].concat())?;
    wait_until("the rule is in force", PATIENCE, || {
        session
            .connect(address::SERVER_V4, 80, PATIENCE)
            .is_ok_and(|outcome| outcome.word == "connected")
    })
}

/// A database in which all of IPv4 from 128.0.0.0 on is in Germany: a tree of one node, a record, and what it is.
fn database() -> Vec<u8> {
    fn text(text: &str) -> Vec<u8> {
        [
            &[0x40 | u8::try_from(text.len()).unwrap_or(0)],
            text.as_bytes(),
        ]
        .concat()
    }
    fn map(pairs: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = vec![0xe0 | u8::try_from(pairs.len()).unwrap_or(0)];
        for (key, value) in pairs {
            bytes.extend(text(key));
            bytes.extend(value);
        }
        bytes
    }
    let number = |number: u8| vec![0xa1, number];
    let record = map(&[("country", map(&[("iso_code", text("DE"))]))]);
    let about = map(&[
        ("binary_format_major_version", number(2)),
        ("binary_format_minor_version", vec![0xa0]),
        ("build_epoch", vec![0x01, 0x02, 1]),
        ("database_type", text("Lab")),
        ("description", map(&[])),
        ("ip_version", number(4)),
        ("languages", vec![0x00, 0x04]),
        ("node_count", vec![0xc1, 1]),
        ("record_size", number(24)),
    ]);
    let tree = [0, 0, 1, 0, 0, 17];
    [
        &tree[..],
        &[0; 16],
        &record,
        b"\xab\xcd\xefMaxMind.com",
        &about,
    ]
    .concat()
}

fn a_country_is_known_by_the_database_that_is_named(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let file = lab.folder().join("places.mmdb");
    let config = format!(
        "[geo]\ncountry = \"{}\"\n[[rule]]\nto = \"country:DE\"\naction = \"block\"\n",
        file.display()
    );
    let session = lab.captured(capture, &config)?;
    // Without the database nobody knows, and what nobody knows matches nothing.
    ensure!(ways(&session)?.0 == "connected");
    let health = session.gateway().status()?["health"].clone();
    ensure!(health == "degraded", "{health}");
    let (cut, left) = (
        drip(&session, address::SERVER_V4)?,
        drip(&session, address::SERVER_V6)?,
    );
    fs::write(lab.folder().join("new.mmdb"), database())?;
    fs::rename(lab.folder().join("new.mmdb"), &file)?;
    wait_until("the flow is cut", CUT, || cut.has_ended())
        .with_context(|| format!("{:?}", session.gateway().status()))?;
    ensure!(
        !left.has_ended(),
        "nobody knows where IPv6 addresses are: {}",
        left.errors()
    );
    ensure!(is_refused(&session, address::SERVER_V4));
    // Whoever writes into the file, or cuts it off, harms nobody.
    fs::write(&file, "")?;
    wait_until("the problem is told", PATIENCE, || {
        let status = session.gateway().status().unwrap_or_default();
        status["library"]["places"][0]["problem"].is_string()
    })?;
    ensure!(is_refused(&session, address::SERVER_V4));
    Ok(())
}

/// Serves lists on the server's first address, by a certificate of an authority that Tidegate trusts.
fn list_server(lab: &Lab) -> Result<Background> {
    let authority_key = KeyPair::generate()?;
    let mut authority = CertificateParams::new(Vec::<String>::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = authority.self_signed(&authority_key)?;
    fs::write(lab.folder().join("authority.der"), certificate.der())?;
    let issuer = Issuer::new(authority, authority_key);
    let names = ["lists.example", address::SERVER_V4].map(str::to_owned);
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(names)?.signed_by(&key, &issuer)?;
    fs::write(lab.folder().join("server.der"), certificate.der())?;
    fs::write(lab.folder().join("key.der"), key.serialize_der())?;
    let program = lab.file("list_server.py", SERVER)?;
    let (program, folder) = (program.display(), lab.folder().display());
    let server = lab
        .server
        .background(&format!("exec python3 {program} {folder}"))?;
    server.wait_for_output("serves")?;
    Ok(server)
}

fn requests(lab: &Lab) -> Vec<String> {
    let log = fs::read_to_string(lab.folder().join("requests")).unwrap_or_default();
    log.lines().map(str::to_owned).collect()
}

fn a_list_is_fetched_over_tls_and_its_news_come_when_asked_for(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let _names = service::Dns::start(&lab.server, &[("lists.example", "203.0.113.10")])?;
    lab.file("list", "203.0.113.20\n")?;
    let _server = list_server(&lab)?;
    // Our own fetch and its question for the name need no rule, even where nothing else may pass.
    let config = "[[rule]]\napp = \"/usr/bin/*\"\nport = \"tcp/80\"\nto = \"203.0.113.10\"\naction = \"allow\"\n";
    let listed = list("source = \"https://lists.example/list\"");
    let config = ["[policy]\ndefault = \"block\"\n", config, &listed].concat();
    let session = lab.captured(capture, &config)?;
    wait_until("the list is there", PATIENCE, || {
        let status = session.gateway().status().unwrap_or_default();
        status["library"]["lists"][0]["loaded"] == true
    })
    .with_context(|| format!("{:?}", session.gateway().status()))?;
    ensure!(is_refused(&session, address::OTHER_V4));
    let flow = session.flow_to(address::OTHER_V4, 80)?;
    ensure!(flow["rule"] == "list:ads", "{flow}");

    let asked = session
        .gateway()
        .ask(&["lists", "update", "ads"])?
        .success()?;
    ensure!(asked.contains("1 entries"), "{asked}");
    let seen = requests(&lab);
    ensure!(seen.len() == 2 && seen[0].ends_with("None"), "{seen:?}");
    ensure!(
        !seen[1].ends_with("None"),
        "the second time it asked for news only: {seen:?}"
    );
    let cut = drip(&session, address::SERVER_V4)?;
    let rule_first = session.gateway().status()?["policy"]["generation"].clone();
    lab.file("list", "203.0.113.20\n203.0.113.10\n")?;
    session.gateway().ask(&["lists", "update"])?.success()?;
    // A rule lets this one pass, list or not.
    ensure!(!cut.has_ended());
    ensure!(session.gateway().status()?["policy"]["generation"] != rule_first);
    session.gateway().rewrite_config(&listed)?;
    wait_until("the flow is cut", PATIENCE, || cut.has_ended())?;
    let unknown = session.gateway().ask(&["lists", "update", "nosuch"])?;
    ensure!(
        unknown.code() == 1 && unknown.stderr.contains("no list"),
        "{unknown:?}"
    );
    Ok(())
}

fn whatever_a_server_does_the_last_good_list_stays(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    lab.file("list", "203.0.113.20\n")?;
    let _server = list_server(&lab)?;
    let of = |path: &str, more: &str| {
        let source = format!("https://203.0.113.10{path}");
        format!(
            "[[list]]\nname = \"{}\"\nsource = \"{source}\"\nmax_mib = 1\n{more}\n",
            &path[1..]
        )
    };
    let good = of("/list", "action = \"block\"");
    let bad = ["/cut", "/endless", "/missing", "/clear"].map(|path| of(path, ""));
    let slow = of("/slow", "max_seconds = 2");
    let config = [good, bad.concat(), slow].concat();
    let session = lab.captured(capture, &config)?;
    let lists = || -> Vec<serde_json::Value> {
        let status = session.gateway().status().unwrap_or_default();
        status["library"]["lists"]
            .as_array()
            .cloned()
            .unwrap_or_default()
    };
    wait_until("each was tried", PATIENCE, || {
        lists()
            .iter()
            .all(|list| list["loaded"] == true || list["problem"].is_string())
    })
    .with_context(|| format!("{:?}", lists()))?;
    let problems: Vec<String> = lists()
        .iter()
        .map(|list| list["problem"].to_string())
        .collect();
    let expected = [
        "null",
        "before the end",
        "more than 1 MiB",
        "404",
        "https",
        "timeout",
    ];
    for (problem, expected) in problems.iter().zip(expected) {
        ensure!(problem.contains(expected), "{problem} lacks {expected}");
    }
    ensure!(is_refused(&session, address::OTHER_V4));
    // From now on the good one is none either.
    lab.file("list", "<html>\n<p>log in\n")?;
    let updated = session.gateway().ask(&["lists", "update", "list"])?;
    ensure!(updated.code() == 1, "{updated:?}");
    ensure!(is_refused(&session, address::OTHER_V4));
    Ok(())
}
