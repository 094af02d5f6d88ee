//! `tidegate flows`: live and recent flows, once or as they come.

use std::path::PathBuf;
use std::process::ExitCode;

use super::daemon::{FlowsArgs, socket};
use crate::control::client::{Client, ClientError};
use crate::control::protocol::{FlowsRequest, Reply, Request};
use crate::record::FlowRecord;
use crate::report;
use crate::terminal;

pub(super) fn main(args: FlowsArgs, control: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let wanted = FlowsRequest {
        follow: args.follow,
        app: args.app,
        verdict: args.verdict.map(Into::into),
        identity: args.json,
    };
    let mut client = Client::connect(&socket(control))?;
    client.send(Request::Flows(wanted))?;
    if args.follow {
        client.wait_forever()?;
    }
    match (args.json, args.follow) {
        (true, _) => print_json(&mut client)?,
        (false, true) => print_as_they_come(&mut client)?,
        (false, false) => print_table(&mut client)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn print_table(client: &mut Client) -> anyhow::Result<()> {
    let mut records = Vec::new();
    while let Told::Flow(record) = next(client)? {
        records.push(*record);
    }
    terminal::print_text(&report::flow_table(&records, terminal::stdout_style()))?;
    Ok(())
}

fn print_as_they_come(client: &mut Client) -> anyhow::Result<()> {
    let lines = report::FlowLines::new(terminal::stdout_style());
    terminal::print_line(&lines.head())?;
    while let Told::Flow(record) = next(client)? {
        terminal::print_line(&lines.line(&record))?;
    }
    Ok(())
}

fn print_json(client: &mut Client) -> anyhow::Result<()> {
    while let Told::Flow(record) = next(client)? {
        terminal::print_line(&serde_json::to_string(&record)?)?;
    }
    Ok(())
}

/// What the daemon tells of flows.
enum Told {
    Flow(Box<FlowRecord>),
    End,
}

fn next(client: &mut Client) -> anyhow::Result<Told> {
    loop {
        let reply = match client.next_reply()? {
            Some(Reply::Done) => return Ok(Told::End),
            Some(reply) => reply,
            None => anyhow::bail!("tidegate has ended"),
        };
        if let Reply::Missed(count) = reply {
            terminal::complain(&format!(
                "{count} flows are not shown: they came faster than they could be read"
            ));
            continue;
        }
        let Reply::Flow(record) = reply else {
            return Err(ClientError::strange(&reply).into());
        };
        return Ok(Told::Flow(record));
    }
}
