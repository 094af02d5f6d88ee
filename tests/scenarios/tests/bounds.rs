//! What one program does to excess leaves room for the others.

use anyhow::{Result, ensure};
use tidegate_lab::{Lab, address, service};

/// Calls thousands of addresses that never answer, says so, and waits.
const FLOOD: &str = "
import resource, socket, sys
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
calls = []
for number in range(2000):
    call = socket.socket()
    call.setblocking(False)
    call.connect_ex((sys.argv[1], 1024 + number))
    calls.append(call)
print('flooded', flush=True)
sys.stdin.read()";

#[test]
fn a_flood_of_half_open_connections_leaves_other_programs_alone() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let tidegate = lab.tidegate("")?;
    let script = lab.file("flood.py", FLOOD)?;
    // Processes of one program count as one.
    let flood = format!(
        "sleep 60 | exec python3 {} {}",
        script.display(),
        address::BLACK_HOLE_V4
    );
    let floods = (0..3)
        .map(|_| lab.host.background(&flood))
        .collect::<Result<Vec<_>>>()?;
    for flood in &floods {
        flood.wait_for_output("flooded")?;
    }
    for _ in 0..5 {
        let size = lab
            .host
            .bash("curl -sS --max-time 15 http://203.0.113.10/bytes/1000 | wc -c")?;
        ensure!(size.success()? == "1000");
    }
    let status = tidegate.status()?;
    let fallen = &status["counters"]["dial_failures"]["too-many-half-open"];
    ensure!(fallen.as_u64() > Some(1_000), "{status}");
    Ok(())
}
