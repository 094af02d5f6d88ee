//! Evidence that traffic of real programs is captured, as the daemon's flows show it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::daemon::Daemon;
use crate::endpoint::endpoint;
use crate::network::{Lab, address};
use crate::session::Session;
use crate::wait::wait_until;

/// How long a flow may take to show.
const PATIENCE: Duration = Duration::from_secs(10);

impl Daemon<'_> {
    /// Flows to or from this remote address and port.
    pub fn flows_to(&self, remote: &str) -> Result<Vec<Value>> {
        let mut flows = self.flows()?;
        flows.retain(|flow| flow["remote"] == remote);
        Ok(flows)
    }

    /// Waits for a flow of which this holds, and gives the first. The error shows all flows.
    pub fn wait_for_flow(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut seen = Vec::new();
        let found = wait_until(&format!("there is {what}"), PATIENCE, || {
            seen = self.flows().unwrap_or_default();
            seen.iter().any(&holds)
        });
        found.with_context(|| format!("flows: {}", listed(&seen)))?;
        match seen.into_iter().find(holds) {
            Some(flow) => Ok(flow),
            None => bail!("{what} has gone"),
        }
    }
}

impl Session<'_> {
    /// The one flow to this address and port; an error unless there is exactly one, within a while.
    pub fn flow_to(&self, address: &str, port: u16) -> Result<Value> {
        self.gateway()
            .flow_to(&endpoint(address, port)?.to_string())
    }

    /// The flow to this address and port, once it is over.
    pub fn ended_flow_to(&self, address: &str, port: u16) -> Result<Value> {
        let remote = endpoint(address, port)?.to_string();
        let what = format!("an ended flow to {remote}");
        self.gateway().wait_for_flow(&what, |flow| {
            flow["remote"] == remote && !flow["ended"].is_null()
        })
    }

    /// The echoes to this address, once there are any.
    pub fn echo_flow_to(&self, address: &str) -> Result<Value> {
        let address: IpAddr = address.parse()?;
        let what = format!("an echo flow to {address}");
        self.gateway().wait_for_flow(&what, |flow| {
            let remote = flow["remote"].as_str().and_then(|text| text.parse().ok());
            let remote = remote.map(|remote: SocketAddr| remote.ip());
            flow["protocol"] == "icmp" && remote == Some(address)
        })
    }
}

impl Lab {
    /// Whether the daemon carries a new connection of curl from the host to the web server at this address, port 80.
    ///
    /// # Errors
    /// The connection fails.
    pub fn is_captured(&self, tidegate: &Daemon<'_>, server: &str) -> Result<bool> {
        let server = endpoint(server, 80)?.to_string();
        let fetch = "curl -sS -m 2 -o /dev/null -w '%{local_ip} %{local_port}'";
        let local = self.host.bash(&format!("{fetch} http://{server}/whoami"))?;
        let local = local.success()?;
        let Some((address, port)) = local.split_once(' ') else {
            bail!("curl says `{local}`");
        };
        let local = endpoint(address, port.parse()?)?.to_string();
        let mut flows = tidegate.flows_to(&server)?;
        // What went past the capture is shown too, as such.
        flows.retain(|flow| flow["state"] != "uncaptured");
        Ok(flows
            .iter()
            .any(|flow| flow["local"] == local && flow["app"]["name"] == "curl"))
    }

    /// An error unless [`is_captured`](Self::is_captured) holds of both families.
    pub fn ensure_captured(&self, tidegate: &Daemon<'_>) -> Result<()> {
        for server in [address::SERVER_V4, address::SERVER_V6] {
            ensure!(
                self.is_captured(tidegate, server)?,
                "a connection to {server} is not captured"
            );
        }
        Ok(())
    }
}

/// Flows, one a line.
fn listed(flows: &[Value]) -> String {
    let lines: Vec<_> = flows.iter().map(Value::to_string).collect();
    lines.join("\n")
}
