//! The daemon and its engines, if they run: what they know better than any look from outside.

use super::{Around, Checks};
use crate::cli::client;
use crate::config::cluster::NodeView;
use crate::status::cluster::ClusterReport;
use std::time::Duration;

/// Longest wait for an answer that the daemon gives by itself.
const ANSWER: Option<Duration> = Some(Duration::from_secs(3));

/// What the daemon says.
pub(super) type Said = ClusterReport;

/// Asks the daemon; why it does not answer otherwise.
pub(super) fn ask(own: &NodeView) -> Result<Said, String> {
    client::cluster(&own.daemon_socket, ANSWER).map_err(|error| error.to_string())
}

pub(super) fn look(checks: &mut Checks, around: &Around<'_>) {
    let report = match around.runs {
        Ok(report) => report,
        Err(why) => {
            return checks.skip(
                "daemon",
                why,
                "start it (`systemctl start lockstep`) and run the doctor again for the rest",
            );
        }
    };
    checks.pass("daemon", "answers");
    if report.peer.heard {
        checks.pass("heartbeats of the peer", "heard");
    } else {
        checks.fail(
            "heartbeats of the peer",
            "silent",
            "start the other daemon; open its UDP port; compare key and cluster id on both nodes",
        );
    }
    for path in &report.interconnects {
        if path.up {
            checks.pass(format!("interconnect {}", path.name), "heard");
        } else {
            checks.fail(format!("interconnect {}", path.name), "silent", "look at that network");
        }
    }
    for group in &report.groups {
        let what = format!("arbiter of {}, {}", group.name, group.arbiter.store);
        match (&group.arbiter.trouble, group.arbiter.last_ms) {
            (Some(trouble), _) => {
                checks.fail(what, trouble, "no failover is possible until it answers");
            }
            (None, Some(ms)) => checks.pass(what, format!("answers within {ms} ms")),
            (None, None) => checks.skip(what, "not asked yet", "try again in a moment"),
        }
    }
    for alarm in &report.alarms {
        checks.warn("alarm", alarm, "see RUNBOOK.md");
    }
    if report.safe {
        checks.pass("redundancy", "it is safe to lose a node now");
    } else {
        checks.warn("redundancy", "it is not safe to lose a node now", "see `lockstep status`");
    }
}
