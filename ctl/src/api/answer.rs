//! What travels as JSON beside the reports: errors, requests, plans, the node. Types for both
//! sides, and the one place that says which status of HTTP and which exit code a refusal has.

use super::control::{Applied, Refusal};
use crate::config::Named;
use crate::exit::Exit;
use crate::status::cluster::PeerReport;
use hyper::StatusCode;
use lockstep_engine::units::{ClusterId, NodeId};
use serde::{Deserialize, Serialize};

/// Longest part of a message that names its object.
const OBJECT_BYTES_MAX: usize = 160;

/// Body of every answer that is an error.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Problem {
    /// What is wrong.
    pub error: Fault,
}

/// An error.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Fault {
    /// Stable word, such as `not-member`.
    pub code: String,
    /// What it is about, such as `volume db`.
    pub object: String,
    /// Why.
    pub cause: String,
    /// What to do; empty when there is nothing to do.
    pub next: String,
    /// All of it in one line.
    pub message: String,
    /// With what the command line ends.
    pub exit: u8,
}

impl From<&Refusal> for Fault {
    fn from(refusal: &Refusal) -> Fault {
        let (object, cause, next) = parts(&refusal.message);
        Fault {
            code: refusal.code.clone(),
            object: object.to_owned(),
            cause: cause.to_owned(),
            next: next.to_owned(),
            message: refusal.message.clone(),
            exit: Exit::of_refusal(&refusal.code).code(),
        }
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Refusal {
        Refusal { code: fault.code, message: fault.message }
    }
}

/// Object, cause and next move of a message, which is written `OBJECT: CAUSE; NEXT` everywhere.
fn parts(message: &str) -> (&str, &str, &str) {
    let named = message.split_once(": ").filter(|(object, _)| object.len() <= OBJECT_BYTES_MAX);
    let (object, rest) = named.unwrap_or(("request", message));
    let (cause, next) = rest.rsplit_once("; ").unwrap_or((rest, ""));
    (object, cause, next)
}

/// Status of HTTP of a refusal.
pub fn status_of(code: &str) -> StatusCode {
    match code {
        "not-understood" | "version" | "name" | "config-wrong" => StatusCode::BAD_REQUEST,
        "not-authenticated" => StatusCode::UNAUTHORIZED,
        "other-origin" => StatusCode::FORBIDDEN,
        "no-path" | "no-group" | "no-volume" | "no-monitor" | "no-resource" | "no-request" => {
            StatusCode::NOT_FOUND
        }
        "no-method" => StatusCode::METHOD_NOT_ALLOWED,
        "slow" => StatusCode::REQUEST_TIMEOUT,
        "too-large" => StatusCode::PAYLOAD_TOO_LARGE,
        "media-type" => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "other-host" => StatusCode::MISDIRECTED_REQUEST,
        "busy" | "no-answer" | "arbiter-away" | "engine-away" => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::CONFLICT,
    }
}

/// How far a request is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Under way.
    Waiting,
    /// Done.
    Done,
    /// Not done; `error` says why.
    Refused,
}

/// What a request waits for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Wait {
    /// Stable word, such as `arbiter`.
    pub code: String,
    /// For people.
    pub message: String,
}

/// A request that changes something.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RequestReport {
    /// Its number.
    pub id: u64,
    /// Its line, such as `POST /v1/groups/db/start`.
    pub request: String,
    /// When it was taken up, milliseconds since 1970.
    pub began_ms: u64,
    /// How far it is.
    pub state: State,
    /// What it waits for at present, if that is known.
    pub waiting: Option<Wait>,
    /// Why it was not done.
    pub error: Option<Fault>,
    /// What became of a configuration, when the request brought one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<Applied>,
}

/// What a verb would do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// It would be refused at once, because of this.
    pub refused: Option<Fault>,
    /// For people, in order.
    pub steps: Vec<String>,
}

/// The cluster service on this node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeReport {
    /// Major version of this API.
    pub v: u32,
    /// Version and build of the daemon.
    pub version: String,
    /// The cluster.
    pub cluster: Named<ClusterId>,
    /// This node.
    pub node: NodeId,
    /// Names of the hosts: a, b.
    pub hosts: [String; 2],
    /// What this node does: takes, suspended, stopped.
    pub part: String,
    /// The cluster service is being stopped.
    pub leaving: bool,
    /// Monitors report and never act.
    pub observe_only: bool,
    /// The other node, as last heard.
    pub peer: PeerReport,
}

/// Whether the daemon works and can decide.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Health {
    /// It does.
    pub healthy: bool,
    /// Why not; left out for those who did not say who they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasons: Option<Vec<String>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_falls_into_its_three_parts() {
        let told = parts("volume db: the engine does not run: no such file; start it");
        assert_eq!(told, ("volume db", "the engine does not run: no such file", "start it"));
        assert_eq!(parts("something"), ("request", "something", ""));
        assert_eq!(parts("group db: it is up on node a").2, "");
    }
}
