//! Whether the daemon works and can decide. Always: an answer within seconds, whatever hangs.

use super::answer::Health;
use super::body::{Body, json};
use super::control::{Ask, Tell, Verb};
use super::serve::cluster;
use super::shared::Shared;
use hyper::{Response, StatusCode};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Somebody unknown may be told what was found so long ago: the loop is not at everybody's beck.
const OLD_MAX: Duration = Duration::from_secs(1);

/// What was found last.
pub(super) type Last = Mutex<Option<(Instant, bool)>>;

/// The answer; the reasons, and what is found now, are for those who are known.
pub(super) async fn answer(shared: &Shared, known: bool) -> Response<Body> {
    if !known {
        let mut last = shared.health.lock().await;
        let healthy = match *last {
            Some((when, healthy)) if when.elapsed() < OLD_MAX => healthy,
            _ => {
                let healthy = reasons(shared).await.is_empty();
                *last = Some((Instant::now(), healthy));
                healthy
            }
        };
        return told(healthy, None);
    }
    let reasons = reasons(shared).await;
    told(reasons.is_empty(), Some(reasons))
}

fn told(healthy: bool, reasons: Option<Vec<String>>) -> Response<Body> {
    let status = if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, &Health { healthy, reasons })
}

async fn reasons(shared: &Shared) -> Vec<String> {
    let report = match cluster(shared).await {
        Ok(report) => report,
        Err(refusal) => return vec![refusal.message],
    };
    let mut reasons = Vec::new();
    match report.part.as_str() {
        "takes" => {}
        "suspended" => reasons.push(format!(
            "node {}: decides nothing by itself; run `lockstep cluster resume`",
            report.node
        )),
        _ => reasons.push(format!(
            "node {}: takes no part in the cluster; run `lockstep cluster start`",
            report.node
        )),
    }
    for group in &report.groups {
        match &group.arbiter.trouble {
            Some(trouble) => reasons.push(format!("group {}: arbiter: {trouble}", group.name)),
            None if !group.arbiter.tried => reasons.push(format!(
                "group {}: the arbiter was not asked yet; wait some seconds",
                group.name
            )),
            None => {}
        }
        for mirror in &group.mirrors {
            let volume = Some(mirror.volume.clone());
            let ask = Ask { volume, dry_run: false, verb: Verb::Status };
            match shared.ask(ask).await {
                Ok(Tell::Status(report)) if report.engine.is_some() => {}
                Ok(_) => reasons.push(format!(
                    "volume {}: its engine does not answer; see `lockstep mirror status`",
                    mirror.volume
                )),
                Err(refusal) => reasons.push(refusal.message),
            }
        }
    }
    reasons
}
