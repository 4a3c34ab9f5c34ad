//! Whether the daemon works and can decide. Always: an answer within seconds, whatever hangs.

use super::answer::Health;
use super::body::{Body, json};
use super::control::{Ask, Tell, Verb};
use super::serve::cluster;
use super::shared::Shared;
use hyper::{Response, StatusCode};

/// The answer; the reasons are for those who are known.
pub(super) async fn answer(shared: &Shared, known: bool) -> Response<Body> {
    let reasons = reasons(shared).await;
    let healthy = reasons.is_empty();
    let status = if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, &Health { healthy, reasons: known.then_some(reasons) })
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
