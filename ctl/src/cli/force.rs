//! `force-promote` and `discard-local`: the verbs that lose acknowledged writes. Each shows what is
//! lost and does nothing before the volume's name was typed.

use super::client::{self, CallError, To};
use super::{mirror, show};
use crate::act::clock;
use crate::api::control::Verb;
use crate::exit::Exit;
use crate::status::Report;
use crate::status::words::{age, bytes};
use lockstep_engine::units::{BLOCK_BYTES, Members};
use std::io::{IsTerminal, Write};
use std::time::Duration;

/// Longest wait for the status that is shown first.
const ANSWER: Duration = Duration::from_secs(5);

/// Shows the loss, has the name typed, promotes.
pub fn run(to: To<'_>, timeout: Option<Duration>, typed: Option<&str>) -> Result<Exit, CallError> {
    let Ok(name) = confirmed(to, timeout, typed, loss)? else { return Ok(Exit::Usage) };
    mirror::act(to, timeout, Verb::ForcePromote { volume: name }, "serving here, by force")
}

/// Shows what only this copy has, has the name typed, gives it up.
pub fn discard(
    to: To<'_>,
    timeout: Option<Duration>,
    typed: Option<&str>,
) -> Result<Exit, CallError> {
    let Ok(name) = confirmed(to, timeout, typed, given_up)? else { return Ok(Exit::Usage) };
    let done = "given up; it is filled from the other node's copy";
    mirror::act(to, timeout, Verb::DiscardLocal { volume: name }, done)
}

/// Nobody has typed the name of the volume.
struct Unconfirmed;

/// Shows the loss and has the name typed.
fn confirmed(
    to: To<'_>,
    timeout: Option<Duration>,
    typed: Option<&str>,
    loss: fn(&Report, u64) -> String,
) -> Result<Result<String, Unconfirmed>, CallError> {
    let report = client::status(to, timeout.or(Some(ANSWER)))?;
    show::progress(&loss(&report, clock::wall_ms()));
    let name = match typed {
        Some(name) => name.to_owned(),
        // Nothing is done, so nothing has to be typed.
        None if to.dry_run => report.volume.name.clone(),
        None => match ask(&report.volume.name) {
            Some(name) => name,
            None => {
                show::error(&format!(
                    "volume {}: nobody is there to type its name; use --yes-i-lose {}",
                    report.volume.name, report.volume.name
                ));
                return Ok(Err(Unconfirmed));
            }
        },
    };
    if name != report.volume.name {
        show::error(&format!(
            "volume {}: \"{name}\" is not its name; nothing was done",
            report.volume.name
        ));
        return Ok(Err(Unconfirmed));
    }
    Ok(Ok(name))
}

/// What only this copy has, as far as it is counted.
fn given_up(report: &Report, wall_ms: u64) -> String {
    let (node, peer) = (report.node, report.node.peer());
    let status = report.engine.as_ref().and_then(|engine| engine.status.as_ref());
    let since = match report.record {
        Some(record) if record.members == Members::only(node) => {
            format!(" since it went on alone {} ago", age(wall_ms.saturating_sub(record.since)))
        }
        _ => String::new(),
    };
    let known = match status.map_or(0, |status| status.dirty_blocks).saturating_mul(BLOCK_BYTES) {
        0 => "not known here".to_owned(),
        count => format!("about {}", bytes(count)),
    };
    let mut lines = vec![
        format!(
            "discard-local gives up the copy of volume {} on node {node} for that of node {peer}.",
            report.volume.name
        ),
        format!("  lost: every write acknowledged by node {node}{since}"),
        format!("  how much that is: {known}"),
    ];
    let volumes = report.decision["record"]["volumes"].as_array();
    if volumes.is_some_and(|volumes| volumes.len() > 1) {
        lines.push(format!(
            "  every volume of group {} is given up with it, and loses as much",
            report.group.name
        ));
    }
    lines.push("  what runs here on top of it is ended; save what you need of it first".to_owned());
    lines.join("\n")
}

/// What would be lost, as far as this node can know.
fn loss(report: &Report, wall_ms: u64) -> String {
    let (node, peer) = (report.node, report.node.peer());
    let status = report.engine.as_ref().and_then(|engine| engine.status.as_ref());
    let record = report.record;
    let mut lines = vec![format!(
        "force-promote makes the copy on node {node} of volume {} the truth.",
        report.volume.name
    )];
    match (status, record) {
        (Some(status), Some(record)) if record.members == Members::only(peer) => {
            lines.push(format!(
                "  lost: every write acknowledged by node {peer} since it went on alone {} ago",
                age(wall_ms.saturating_sub(record.since))
            ));
            let known = match status.dirty_blocks.saturating_mul(BLOCK_BYTES) {
                0 => "not known here".to_owned(),
                count => format!("{} differ for certain, the rest is not known here", bytes(count)),
            };
            lines
                .push(format!("  how much that is: {known}; node {peer} counts it while it lives"));
        }
        (Some(_), Some(record)) if record.members.contains(node) => lines.push(format!(
            "  lost: writes that node {peer} acknowledged and this node does not hold, if any"
        )),
        _ => lines.push("  lost: unknown, because this node knows no record".to_owned()),
    }
    if let Some(status) = status {
        lines.push(format!("  copy here: {:?}", status.disk));
    }
    let volumes = report.decision["record"]["volumes"].as_array();
    if volumes.is_some_and(|volumes| volumes.len() > 1) {
        lines.push(format!(
            "  every volume of group {} is forced with it, and loses as much",
            report.group.name
        ));
    }
    lines.push(format!(
        "  node {peer} is never merged by itself afterwards; if it lives, stop it first"
    ));
    lines.join("\n")
}

/// The name as typed; `None` when nobody is there.
fn ask(volume: &str) -> Option<String> {
    if !std::io::stdin().is_terminal() {
        return None;
    }
    let mut err = std::io::stderr().lock();
    write!(err, "Type the name of the volume ({volume}) to go on: ").ok()?;
    err.flush().ok()?;
    drop(err);
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).ok()?;
    Some(line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::act::arbiter::Health;
    use crate::act::heartbeat::Dropped;
    use crate::config::Named;
    use crate::status::{Colour, EngineReport, HeartbeatReport, Summary};
    use lockstep_engine::units::{
        ClusterId, Epoch, Generation, GroupId, NodeId, Nonce, Status, Tick, Version, VolumeId,
        VolumeRecord,
    };

    /// Node b, while the record names node a alone.
    fn stale(dirty_blocks: u64) -> Report {
        let record = VolumeRecord {
            version: Version(4),
            epoch: Epoch(2),
            members: Members::only(NodeId::A),
            primary: Some(NodeId::A),
            generation: Generation(9),
            parent: Generation(8),
            nonce: Nonce(1),
            writer: NodeId::A,
            since: 1_000,
            forced: false,
        };
        let status = Status { dirty_blocks, ..Status::at_rest(VolumeId(5), NodeId::B) };
        // The engine has not learned the arbiter's record yet.
        Report {
            v: 1,
            cluster: Named { id: ClusterId(1), name: "prod".to_owned() },
            group: Named { id: GroupId(2), name: "db".to_owned() },
            volume: Named { id: VolumeId(5), name: "db".to_owned() },
            node: NodeId::B,
            now: Tick(0),
            summary: Summary {
                colour: Colour::Red,
                mirror: String::new(),
                runs_on: None,
                safe: false,
                safe_why: String::new(),
                rpo: String::new(),
                next: String::new(),
                alarms: Vec::new(),
                split_brain: false,
            },
            engine: Some(EngineReport {
                build: String::new(),
                config_digest: String::new(),
                status: Some(status),
            }),
            record: Some(record),
            heartbeat: HeartbeatReport {
                heard_ms_ago: None,
                answered_ms_ago: None,
                answering: false,
                peer_boot: None,
                dropped: Dropped::default(),
            },
            arbiter: Health::default(),
            decision: serde_json::Value::Null,
        }
    }

    #[test]
    fn a_loss_that_nobody_has_counted_is_not_called_nothing() {
        let told = loss(&stale(0), 61_000);
        assert!(told.contains("alone 1 min 0 s ago"), "{told}");
        assert!(told.contains("not known here") && !told.contains("0 B"), "{told}");
        let told = loss(&stale(256), 61_000);
        assert!(told.contains("1 MiB differ for certain"), "{told}");
    }
}
