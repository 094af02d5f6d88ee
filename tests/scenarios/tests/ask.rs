//! The user is asked: nothing leaves before, each flow gets its own answer, and without one it is refused.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tidegate_lab::{
    Capture, Job, Lab, Session, Terminal, User, address, endpoint, service, under_both_captures,
    wait_until,
};

const PATIENCE: Duration = Duration::from_secs(20);
const ASKS: &str = "[policy]\ndefault = \"ask\"\n";
const CURL_NOT_CONNECTED: i32 = 7;
const CURL_CUT_OFF: i32 = 56;

under_both_captures! {
    a_held_flow_of_any_kind_goes_on_when_it_is_allowed_and_nothing_left_before,
    a_blocked_flow_is_refused_when_the_answer_comes,
    without_an_answer_a_flow_is_refused_when_the_time_is_over,
    a_question_is_closed_when_nobody_waits_any_more,
    a_reload_that_asks_cuts_what_is_open_and_one_that_allows_lets_go_what_waits,
    a_new_rule_about_what_nobody_had_looked_at_holds_for_what_waits,
    what_was_allowed_once_stays_when_another_answer_becomes_a_rule,
    an_answer_for_this_process_is_not_for_the_next,
    an_answer_for_a_time_ends_with_it,
    a_program_that_asks_for_many_places_becomes_one_question,
}

/// The questions that are open once there are so many.
fn questions(session: &Session<'_>, count: usize) -> Result<Vec<Value>> {
    let mut found = Vec::new();
    wait_until(&format!("{count} questions are open"), PATIENCE, || {
        found = listed(session).unwrap_or_default();
        found.len() == count
    })
    .with_context(|| format!("{found:?}"))?;
    Ok(found)
}

fn listed(session: &Session<'_>) -> Result<Vec<Value>> {
    let text = session
        .gateway()
        .ask(&["ask", "--list", "--json"])?
        .success()?;
    let lines = text.lines().map(serde_json::from_str);
    Ok(lines.collect::<Result<_, _>>()?)
}

fn answer(session: &Session<'_>, question: &Value, words: &[&str]) -> Result<String> {
    let id = question["id"].to_string();
    let line = [&["answer", &id][..], words].concat();
    session.gateway().ask(&line)?.success()
}

fn curl(session: &Session<'_>, server: &str) -> Result<Job> {
    session.start(&format!(
        "exec curl -sS --max-time 60 -o /dev/null http://{server}/bytes/10"
    ))
}

/// TCP segments and UDP datagrams that a machine has got, whoever for.
fn heard(lab: &Lab) -> Result<u64> {
    let said = lab.server.bash(
        "awk '/^(Tcp|Udp):/ { if (names[$1]) { for (i = 2; i <= NF; i++) \
         if (field[$1, i] ~ /^(InSegs|InDatagrams|NoPorts)$/) sum += $i } \
         else { names[$1] = 1; for (i = 2; i <= NF; i++) field[$1, i] = $i } } \
         /^Icmp:/ { if (icmp) sum += $2; icmp = 1 } END { print sum }' /proc/net/snmp",
    )?;
    Ok(said.success()?.parse()?)
}

fn a_held_flow_of_any_kind_goes_on_when_it_is_allowed_and_nothing_left_before(
    capture: Capture,
) -> Result<()> {
    let lab = Lab::new()?;
    lab.host
        .sysctl("net.ipv4.ping_group_range", "0 2147483647")?;
    let _web = service::Http::start(&lab.server, 80)?;
    let servers = [address::SERVER_V4, address::SERVER_V6];
    let _echo = service::UdpEcho::start(&lab.server, &servers, 7)?;
    let session = lab.captured(capture, ASKS)?;
    let before = heard(&lab)?;
    let jobs = [
        session.start("exec curl -sS --max-time 60 http://203.0.113.10/bytes/1000 | wc -c")?,
        session.start("exec ping -n -c 1 -W 40 203.0.113.10 | grep -c '1 received'")?,
        session.start_python(
            "import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(60)
s.connect(('203.0.113.10', 7))
for n in range(3): s.send(b'number %d' % n)
print([s.recv(99) for _ in range(3)] == [b'number %d' % n for n in range(3)])",
        )?,
    ];
    let open = questions(&session, 3)?;
    // Longer than a SYN waits before it is sent again.
    std::thread::sleep(Duration::from_millis(1_500));
    ensure!(heard(&lab)? == before, "something left before the answer");
    ensure!(
        listed(&session)?
            .iter()
            .all(|question| question["flows"] == 1)
    );
    let mut services: Vec<_> = open
        .iter()
        .map(|question| question["service"].as_str().unwrap_or_default())
        .collect();
    services.sort_unstable();
    ensure!(services == ["icmp", "tcp/80", "udp/7"], "{open:?}");
    let flow = session.gateway().flow_to("203.0.113.10:80")?;
    ensure!(
        flow["state"] == "asking" && flow["verdict"] == "ask",
        "{flow}"
    );
    for question in &open {
        let said = answer(&session, question, &["allow"])?;
        ensure!(said.contains("in force for 1 flow"), "{said}");
    }
    let said: Vec<String> = jobs
        .into_iter()
        .map(|job| job.finish(PATIENCE)?.success())
        .collect::<Result<_>>()?;
    ensure!(said == ["1000", "1", "True"], "{said:?}");
    ensure!(listed(&session)?.is_empty());
    Ok(())
}

fn a_blocked_flow_is_refused_when_the_answer_comes(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let web = service::Http::start(&lab.server, 80)?;
    let rule = "[[rule]]\nname = \"ask about the web\"\nport = \"tcp/80\"\naction = \"ask\"\n";
    let session = lab.captured(capture, rule)?;
    let jobs = [
        curl(&session, "203.0.113.10")?,
        curl(&session, "203.0.113.10")?,
        curl(&session, "203.0.113.20")?,
    ];
    let open = questions(&session, 2)?;
    ensure!(open[0]["about"]["rule"] == "ask about the web", "{open:?}");
    ensure!(open[0]["app"] == "/usr/bin/curl", "{open:?}");
    for question in &open {
        answer(&session, question, &["block"])?;
    }
    for job in jobs {
        ensure!(job.finish(PATIENCE)?.code() == CURL_NOT_CONNECTED);
    }
    ensure!(web.peers().is_empty());
    Ok(())
}

fn without_an_answer_a_flow_is_refused_when_the_time_is_over(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let web = service::Http::start(&lab.server, 80)?;
    let config = format!("{ASKS}ask_timeout = \"2s\"\n");
    let session = lab.captured(capture, &config)?;
    let outcome = session.connect(address::SERVER_V4, 80, PATIENCE)?;
    ensure!(outcome.word == "ECONNREFUSED", "{outcome:?}");
    let took = outcome.took.as_secs_f64();
    ensure!((1.9..4.0).contains(&took), "{outcome:?}");
    let flow = session.flow_to(address::SERVER_V4, 80)?;
    ensure!(flow["reason"] == "nobody answered in time", "{flow}");
    ensure!(
        flow["state"] == "refused" && flow["verdict"] != "allow",
        "{flow}"
    );

    drop(session);
    let config = format!("{config}ask_timeout_verdict = \"drop\"\n");
    let session = lab.captured(capture, &config)?;
    let outcome = session.connect(address::OTHER_V4, 80, Duration::from_secs(4))?;
    ensure!(outcome.word == "timeout", "{outcome:?}");
    ensure!(listed(&session)?.is_empty() && web.peers().is_empty());
    Ok(())
}

fn a_question_is_closed_when_nobody_waits_any_more(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let config = format!("{ASKS}ask_timeout = \"3s\"\n");
    let session = lab.captured(capture, &config)?;
    let job = curl(&session, "203.0.113.10")?;
    let open = questions(&session, 1)?;
    job.finish(PATIENCE)?;
    questions(&session, 0)?;
    let id = open[0]["id"].to_string();
    let late = session.gateway().ask(&["answer", &id, "allow"])?;
    ensure!(
        late.code() == 1 && late.stderr.contains("is not open"),
        "{late:?}"
    );
    Ok(())
}

fn a_reload_that_asks_cuts_what_is_open_and_one_that_allows_lets_go_what_waits(
    capture: Capture,
) -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let session = lab.captured(capture, "")?;
    let drip = session.start("exec curl -sSN http://203.0.113.10/drip")?;
    drip.wait_for_output("drip")?;
    session.gateway().rewrite_config(ASKS)?;
    ensure!(drip.finish(PATIENCE)?.code() == CURL_CUT_OFF);
    let held = curl(&session, "203.0.113.10")?;
    questions(&session, 1)?;
    session.gateway().rewrite_config("")?;
    held.finish(PATIENCE)?.success()?;
    questions(&session, 0)?;
    Ok(())
}

/// No rule asked for digests when the flow was held.
fn a_new_rule_about_what_nobody_had_looked_at_holds_for_what_waits(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let session = lab.captured(capture, ASKS)?;
    let before = heard(&lab)?;
    let held = curl(&session, address::SERVER_V4)?;
    questions(&session, 1)?;
    let digest = lab.host.bash("sha256sum /usr/bin/curl | cut -d ' ' -f 1")?;
    session.gateway().rewrite_config(&format!(
        "[[rule]]\napp = {{ sha256 = \"{}\" }}\naction = \"block\"\n",
        digest.success()?
    ))?;
    ensure!(held.finish(PATIENCE)?.code() == CURL_NOT_CONNECTED);
    ensure!(heard(&lab)? == before, "something left");
    Ok(())
}

fn what_was_allowed_once_stays_when_another_answer_becomes_a_rule(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let session = lab.captured(capture, ASKS)?;
    let drip = session.start("exec curl -sSN http://203.0.113.10/drip")?;
    let open = questions(&session, 1)?;
    answer(&session, &open[0], &["allow"])?;
    drip.wait_for_output("drip")?;
    let generation = session.gateway().status()?["policy"]["generation"].clone();
    let other = curl(&session, "203.0.113.20")?;
    let open = questions(&session, 1)?;
    let said = answer(&session, &open[0], &["allow", "--for", "forever"])?;
    ensure!(said.contains("kept as a rule in"), "{said}");
    other.finish(PATIENCE)?.success()?;
    wait_until("the rule is in force", PATIENCE, || {
        let status = session.gateway().status().unwrap_or_default();
        status["policy"]["generation"] != generation
    })?;
    curl(&session, "203.0.113.20")?
        .finish(PATIENCE)?
        .success()?;
    let flow = session
        .gateway()
        .wait_for_flow("one that the rule let pass", |flow| {
            flow["rule"]
                .as_str()
                .is_some_and(|rule| rule.starts_with("curl of user"))
        })?;
    ensure!(flow["verdict"] == "allow", "{flow}");
    ensure!(!drip.has_ended(), "{}", drip.errors());
    // The newest answer counts, for what is open too.
    let third = curl(&session, "203.0.113.53")?;
    let open = questions(&session, 1)?;
    answer(
        &session,
        &open[0],
        &["block", "--scope", "anywhere", "--for", "1h"],
    )?;
    ensure!(third.finish(PATIENCE)?.code() == CURL_NOT_CONNECTED);
    ensure!(drip.finish(PATIENCE)?.code() == CURL_CUT_OFF);
    Ok(())
}

fn an_answer_for_this_process_is_not_for_the_next(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let session = lab.captured(capture, ASKS)?;
    let calls = "
import socket
def call(to):
    with socket.create_connection((to, 80), 60) as s: return 'reached'
for to in '203.0.113.10', '203.0.113.20', '203.0.113.10': print(call(to))
";
    let first = session.start_python(calls)?;
    let open = questions(&session, 1)?;
    answer(
        &session,
        &open[0],
        &["allow", "--scope", "anywhere", "--for", "process"],
    )?;
    ensure!(first.finish(PATIENCE)?.success()? == "reached\nreached\nreached");
    let second = session.start_python(calls)?;
    let open = questions(&session, 1)?;
    answer(
        &session,
        &open[0],
        &["block", "--scope", "anywhere", "--for", "process"],
    )?;
    let said = second.finish(PATIENCE)?.failure()?;
    ensure!(!said.starts_with("reached"), "{said}");
    Ok(())
}

fn an_answer_for_a_time_ends_with_it(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let session = lab.captured(capture, ASKS)?;
    let drip = session.start("exec curl -sSN http://203.0.113.10/drip")?;
    let open = questions(&session, 1)?;
    answer(
        &session,
        &open[0],
        &["allow", "--scope", "host", "--for", "3s"],
    )?;
    drip.wait_for_output("drip")?;
    curl(&session, "203.0.113.10")?
        .finish(PATIENCE)?
        .success()?;
    ensure!(drip.finish(PATIENCE)?.code() == CURL_CUT_OFF);
    curl(&session, "203.0.113.10")?;
    questions(&session, 1)?;
    Ok(())
}

fn a_program_that_asks_for_many_places_becomes_one_question(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let session = lab.captured(capture, ASKS)?;
    let scan = session.start_python(
        "
import errno, select, socket
calls = []
for port in range(1000, 1100):
    s = socket.socket()
    s.setblocking(False)
    s.connect_ex(('203.0.113.10', port))
    calls.append(s)
for s in calls:
    select.select([], [s], [], 60)
print(sorted({errno.errorcode.get(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), 'connected') for s in calls}))",
    )?;
    questions(&session, 17)?;
    let about_many = || {
        let open = listed(&session).unwrap_or_default();
        open.into_iter().find(|question| question["to"].is_null())
    };
    wait_until("the rest waits on one question", PATIENCE, || {
        about_many().is_some_and(|many| many["flows"] == 84)
    })
    .with_context(|| format!("{:?}", about_many()))?;
    let many = about_many().context("no question about many places")?;
    let said = answer(
        &session,
        &many,
        &["block", "--scope", "anywhere", "--for", "1h"],
    )?;
    ensure!(said.contains("in force for 100 flows"), "{said}");
    ensure!(scan.finish(PATIENCE)?.success()? == "['ECONNREFUSED']");
    Ok(())
}

#[test]
fn an_answer_becomes_a_rule_that_outlives_the_gateway_and_is_on_record() -> Result<()> {
    let lab = Lab::new()?;
    let web = service::Http::start(&lab.server, 80)?;
    let own = "# by hand\n[[rule]]\nname = \"own\"\napp = \"/usr/bin/none\"\naction = \"block\"\n";
    fs::create_dir(lab.folder().join("rules.d"))?;
    let file = lab.file("rules.d/50-answers.toml", own)?;
    let mut session = lab.captured(Capture::Host, ASKS)?;
    let job = curl(&session, "203.0.113.10")?;
    let open = questions(&session, 1)?;
    answer(&session, &open[0], &["allow", "--for", "forever"])?;
    job.finish(PATIENCE)?.success()?;
    ensure!(fs::read_to_string(&file)?.starts_with(own));
    session.process().stop()?;
    drop(session);

    let session = lab.captured(Capture::Host, ASKS)?;
    curl(&session, "203.0.113.10")?
        .finish(PATIENCE)?
        .success()?;
    ensure!(listed(&session)?.is_empty() && web.peers().len() == 2);

    let state = lab.state_of(User::ROOT)?.display().to_string();
    let show = lab.tidegate_command(&["audit", "show", "--json", "--state", &state])?;
    let records: Vec<Value> = show
        .success()?
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let answers: Vec<_> = records
        .iter()
        .filter(|record| record["subject"] == "answer")
        .collect();
    ensure!(answers.len() == 1, "{records:?}");
    ensure!(answers[0]["author"]["client"]["uid"] == 0, "{records:?}");
    let after = answers[0]["after"].as_str().unwrap_or_default();
    ensure!(
        after.contains("allow /usr/bin/curl to 203.0.113.10 tcp/80"),
        "{after}"
    );
    let verify = ["audit", "verify", "--state", &state];
    lab.tidegate_command(&verify)?.success()?;
    let log = lab.state_of(User::ROOT)?.join("audit.log");
    let mut bytes = fs::read(&log)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&log, bytes)?;
    let found = lab.tidegate_command(&verify)?;
    ensure!(
        found.code() == 1 && found.stdout.contains("line "),
        "{found:?}"
    );
    Ok(())
}

#[test]
fn a_client_of_a_service_waits_for_the_answer_too() -> Result<()> {
    let lab = Lab::new()?;
    let web = service::Http::start(&lab.host, 8080)?;
    let rule = "[[rule]]\ndirection = \"in\"\nport = \"tcp/8080\"\naction = \"ask\"\n";
    let session = lab.captured(Capture::Host, rule)?;
    let calls = "
import socket
for _ in range(2):
    with socket.create_connection(('192.168.77.2', 8080), 30) as s:
        s.send(b'GET /bytes/3 HTTP/1.0\\r\\n\\r\\n')
        print('got', s.recv(999)[-3:].hex(), flush=True)
";
    let client = lab.server.python_background_as(User::ROOT, calls)?;
    let open = questions(&session, 1)?;
    ensure!(open[0]["incoming"] == true, "{open:?}");
    ensure!(open[0]["service"] == "tcp/8080", "{open:?}");
    ensure!(open[0]["to"] == address::SERVER_V4, "{open:?}");
    ensure!(client.output().is_empty(), "{}", client.output());
    let wide = ["allow", "--scope", "port", "--for", "forever"];
    answer(&session, &open[0], &wide)?;
    wait_until("both calls are answered", PATIENCE, || {
        client.output().matches("got").count() == 2
    })?;
    ensure!(listed(&session)?.is_empty() && web.peers().len() == 2);
    Ok(())
}

#[test]
fn where_the_rules_cannot_be_written_the_answer_holds_and_that_is_said() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    // A file of root's, and a user's gateway.
    let config = lab.file("asks.toml", ASKS)?.display().to_string();
    let control = lab
        .state_of(User::ALICE)?
        .join("control")
        .display()
        .to_string();
    let exec = lab.exec().option("--config").option(&config);
    let mut job = exec.option("--control").option(&control).background(
        "curl -sS http://203.0.113.10/bytes/7 && curl -sS http://203.0.113.10/bytes/7",
    )?;
    let ask = |words: &[&str]| lab.tidegate_command(&[words, &["--control", &control]].concat());
    wait_until("there is a question", PATIENCE, || {
        ask(&["ask", "--list"]).is_ok_and(|said| said.stdout.contains("question 1: curl"))
    })?;
    let said = ask(&["answer", "1", "allow", "--for", "forever"])?.success()?;
    ensure!(said.contains("kept until tidegate ends only"), "{said}");
    ensure!(job.wait(PATIENCE)? == 0, "{}", job.output());
    Ok(())
}

#[test]
fn a_question_at_a_terminal_is_answered_by_a_whole_word_and_by_nothing_typed_before() -> Result<()>
{
    let lab = Lab::new()?;
    let web = service::Http::start(&lab.server, 80)?;
    let evil = "allow\u{1b}[2J\u{202e}";
    let program = lab.program("/usr/bin/curl", evil)?;
    let session = lab.captured(Capture::Host, ASKS)?;
    let command = session.gateway().command(&["ask"]);
    let mut terminal = Terminal::start(&lab.host, User::ROOT, &command)?;
    terminal.wait_for_output("waiting for questions")?;
    terminal.press("allow anywhere forever\n")?;
    std::thread::sleep(Duration::from_millis(300));
    let remote = endpoint(address::SERVER_V4, 80)?;
    let job = session.start(&format!(
        "exec '{}' -sS --max-time 60 -o /dev/null http://{remote}/bytes/10",
        program.display()
    ))?;
    terminal.wait_for_output("allow or block?")?;
    std::thread::sleep(Duration::from_millis(600));
    for slip in ["\n", "y\n", "a\n"] {
        terminal.press(slip)?;
    }
    terminal.wait_for_output("\"a\" is no answer")?;
    ensure!(web.peers().is_empty() && !job.has_ended());
    terminal.press("allow\n")?;
    terminal.wait_for_output("in force for 1 flow")?;
    job.finish(PATIENCE)?.success()?;
    let shown = terminal.output();
    ensure!(
        !shown.contains("\u{1b}[2J") && !shown.contains('\u{202e}'),
        "{shown}"
    );
    ensure!(
        shown.contains("question 1: allow\\u{1b}[2J\\u{202e} wants to reach 203.0.113.10 tcp/80"),
        "{shown}"
    );
    terminal.press("quit\n")?;
    terminal.press("\u{3}")?;
    terminal.wait(PATIENCE)?;
    let piped = session.gateway().ask(&["ask"])?;
    ensure!(
        piped.code() == 1 && piped.stderr.contains("standard input is none"),
        "{piped:?}"
    );
    Ok(())
}

/// Answers every question in random order, or not at all, and prints each: program, service, answer.
const ANSWERER: &str = r#"
import json, random, socket
s = socket.socket(socket.AF_UNIX)
s.connect('/run/tidegate/control.sock')
lines = s.makefile('rw')
def say(request):
    lines.write(json.dumps({'version': 1, 'request': request}) + '\n')
    lines.flush()
    return json.loads(lines.readline())
first = say({'questions': {'follow': False}})
open_ones = []
while first != 'done':
    open_ones.append(first['question'])
    first = json.loads(lines.readline())
chance = random.Random(4)
chance.shuffle(open_ones)
for question in open_ones:
    verdict = chance.choice(['allow', 'block', 'never'])
    lifetime = chance.choice(['once', 'process', '1h', 'forever'])
    if verdict != 'never':
        answer = {'verdict': verdict, 'reach': 'exact', 'lifetime': lifetime}
        given = say({'answer': {'question': question['id'], 'answer': answer}})
        assert given['answered']['flows'] == 1, given
    print(question['app'].rsplit('/', 1)[1], question['service'], verdict, lifetime)
"#;

/// Programs that ask at once, for three places each.
const PROGRAMS: usize = 200;

/// Kibibytes of the gateway's memory.
fn memory(session: &mut Session<'_>) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", session.process().pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let line = line.context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// Each program fetches from ports 80, 81 and 82 at once, and says of each how it ended and when.
fn start_all(lab: &Lab, session: &Session<'_>) -> Result<Job> {
    session.start(&format!(
        "for n in {{0..{}}}; do
             {}/p$n -sS -Z --parallel-immediate --no-progress-meter -o /dev/null -o /dev/null -o /dev/null \
                 -w \"p$n %{{urlnum}} %{{exitcode}} %{{http_code}} %{{time_total}}\\n\" \
                 http://203.0.113.10:8{{0,1,2}}/bytes/10 2>/dev/null &
         done; wait",
        PROGRAMS - 1,
        lab.folder().display(),
    ))
}

/// Whether each call ended as it was answered; gives how many were allowed.
fn allowed_as_answered(answers: &str, said: &str) -> Result<usize> {
    let mut allowed = 0;
    for line in answers.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [program, service, verdict, _] = words[..] else {
            anyhow::bail!("{line}");
        };
        let url = service.strip_prefix("tcp/8").context("another service")?;
        let outcome = said
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{program} {url} ")))
            .with_context(|| format!("nothing of {program} {url}: {said}"))?;
        let words: Vec<&str> = outcome.split_whitespace().collect();
        let [code, status, took] = words[..] else {
            anyhow::bail!("{outcome}");
        };
        let waited = took.parse::<f64>()? > 59.0;
        let expected = match verdict {
            "allow" => ("0", "200", false),
            "block" => ("7", "000", false),
            _ => ("7", "000", true),
        };
        ensure!((code, status, waited) == expected, "{line}: {outcome}");
        allowed += usize::from(verdict == "allow");
    }
    ensure!(said.lines().count() == 3 * PROGRAMS && answers.lines().count() == 3 * PROGRAMS);
    Ok(allowed)
}

/// A program and a port that this was answered of for ever.
fn answered_forever<'a>(answers: &'a str, verdict: &str) -> Option<(&'a str, &'a str)> {
    let end = format!(" {verdict} forever");
    let line = answers.lines().find_map(|line| line.strip_suffix(&end));
    let (program, service) = line?.split_once(' ')?;
    Some((program, service.strip_prefix("tcp/")?))
}

/// Six hundred questions at once.
#[test]
fn two_hundred_programs_get_each_exactly_its_answers() -> Result<()> {
    let lab = Lab::new()?;
    let webs = [80, 81, 82].map(|port| service::Http::start(&lab.server, port));
    let webs = webs.into_iter().collect::<Result<Vec<_>>>()?;
    let names: Vec<String> = (0..PROGRAMS).map(|number| format!("p{number}")).collect();
    lab.program_under_names("/usr/bin/curl", &names)?;
    let config = format!("{ASKS}ask_timeout = \"60s\"\n");
    let mut session = lab.captured(Capture::Host, &config)?;
    let (idle, quiet) = (memory(&mut session)?, heard(&lab)?);
    let all = start_all(&lab, &session)?;
    let mut open = 0;
    wait_until("all questions are open", Duration::from_secs(50), || {
        open = listed(&session).map_or(0, |open| open.len());
        open == 3 * PROGRAMS
    })
    .with_context(|| format!("{open} questions"))?;
    ensure!(heard(&lab)? == quiet, "something left before its answer");
    let grown = memory(&mut session)?.saturating_sub(idle);
    ensure!(grown < 24 << 10, "{grown} KiB more for {open} questions");
    let answers = lab.host.python(ANSWERER)?.success()?;
    let said = all.finish(Duration::from_secs(100))?.stdout;
    let allowed = allowed_as_answered(&answers, &said)?;
    let served: usize = webs.iter().map(|web| web.peers().len()).sum();
    ensure!(served == allowed, "{served} connections, {allowed} allowed");

    session.process().stop()?;
    drop(session);
    let session = lab.captured(Capture::Host, &config)?;
    for (verdict, code) in [("allow", 0), ("block", CURL_NOT_CONNECTED)] {
        let (program, port) = answered_forever(&answers, verdict).context("no such answer")?;
        let fetch = format!(
            "exec {}/{program} -sS --max-time 20 -o /dev/null http://203.0.113.10:{port}/bytes/1",
            lab.folder().display()
        );
        let ended = session.bash(&fetch)?;
        ensure!(
            ended.code() == code,
            "{program} {port} {verdict}: {ended:?}"
        );
    }
    ensure!(listed(&session)?.is_empty());
    Ok(())
}
