//! One connection, and one request after the other on it: admitted, found in the table, read,
//! asked, answered. Always: head, body and time of a request are bounded before anything is done;
//! every answer has the version and forbids what a browser must not do with it.

use super::answer::{Fault, NodeReport, Plan, Problem, State};
use super::body::{Body, json, other_method, problem, whole};
use super::control::{Ask, Refusal, Tell, Verb};
use super::gate::{Gate, Who, other_version, stranger};
use super::routes::{Found, Given, ONLY, Route, TABLE, What, find};
use super::shared::{Counts, Shared};
use super::{JSON, LINES, VERSION, VERSION_HEADER, follow, health, metrics, openapi};
use crate::status::cluster::ClusterReport;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// Longest head of a request, with its line.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Most headers.
const HEADERS_MAX: usize = 64;
/// Longest time for a head, also between two requests, and for a body.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest path that is shown back.
const SHOWN_MAX: usize = 120;

/// What a browser must not do with what it gets: no source but this one, no frame, no guesses.
const GUARDS: &[(&str, &str)] = &[
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
];

type Answered = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

fn refuse(code: &str, message: impl Into<String>) -> Refusal {
    Refusal { code: code.to_owned(), message: message.into() }
}

/// An answer as bytes, for connections that HTTP has no hold of.
pub(super) fn canned(status: StatusCode, code: &str, message: &str) -> String {
    let problem = Problem { error: Fault::from(&refuse(code, message)) };
    let body = serde_json::to_string(&problem).unwrap_or_default();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {JSON}\r\n{VERSION_HEADER}: {VERSION}\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Serves a connection until it ends.
pub(super) async fn serve<S>(stream: S, gate: &Gate, certified: bool, shared: &Arc<Shared>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    // The gate lives as long as the connection, which hyper can't be told: requests are admitted
    // here and attended to there.
    let service = service_fn(|request: Request<Incoming>| -> Answered {
        let (head, body) = request.into_parts();
        let admitted = gate.admit(&head, certified);
        let shared = Arc::clone(shared);
        Box::pin(async move { Ok(answer(admitted, head, body, &shared).await) })
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let ended = poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
    let mut stream = connection.into_parts().io.into_inner();
    let slow = ended.as_ref().is_err_and(hyper::Error::is_timeout);
    if let Err(cause) = ended {
        tracing::debug!(%cause, "a connection ended");
    }
    let last = async {
        if slow {
            let words = "request: its head did not come within 5 s; send it at once";
            let bytes = canned(StatusCode::REQUEST_TIMEOUT, "slow", words);
            stream.write_all(bytes.as_bytes()).await?;
        }
        stream.shutdown().await
    };
    if let Ok(Err(cause)) = timeout(PATIENCE, last).await {
        tracing::debug!(%cause, "a connection was gone before its end");
    }
}

/// Answers one request.
async fn answer(
    admitted: Result<Who, Refusal>,
    head: Parts,
    body: Incoming,
    shared: &Arc<Shared>,
) -> Response<Body> {
    let mut response = match admitted {
        Err(refusal) => problem(&refusal),
        Ok(who) => match attend(who, &head, body, shared).await {
            Ok(response) => response,
            Err(refusal) => problem(&refusal),
        },
    };
    let class = match response.status().as_u16() {
        ..400 => 0,
        400..500 => 1,
        _ => 2,
    };
    Counts::up(&shared.counts.answers[class]);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(HeaderName::from_static(VERSION_HEADER), HeaderValue::from(VERSION));
    for (name, value) in GUARDS {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

async fn attend(
    who: Who,
    head: &Parts,
    body: Incoming,
    shared: &Arc<Shared>,
) -> Result<Response<Body>, Refusal> {
    let path = head.uri.path();
    let found = find(head.method.as_str(), path);
    if who == Who::Unknown {
        if let Found::Route(Route { what: What::Health, .. }, _) = found {
            return Ok(health::answer(shared, false).await);
        }
        Counts::up(&shared.counts.unauthenticated);
        return Err(stranger());
    }
    let shown: String = path.chars().take(SHOWN_MAX).collect();
    let (route, names) = match found {
        Found::Route(route, names) => (route, names),
        Found::Method(methods) => return Ok(other_method(&shown, &methods)),
        Found::Version(version) => return Err(other_version(&version)),
        Found::Nothing => {
            let message = format!(
                "path \"{}\": there is none like it; see GET /v1/openapi.json",
                shown.escape_debug()
            );
            return Err(refuse("no-path", message));
        }
    };
    let bytes =
        if route.changes() { read(route, &head.headers, body).await? } else { Bytes::new() };
    let query = head.uri.query().unwrap_or("");
    let given = Given::read(route, names, query, &bytes)
        .map_err(|message| refuse("not-understood", message))?;
    if route.changes() {
        let line = format!("POST {shown}");
        return change(route, &given, wants_lines(&head.headers), line, shared).await;
    }
    look(route, &given, shared).await
}

fn wants_lines(headers: &HeaderMap) -> bool {
    let accepts = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or("");
    accepts.split([',', ';']).any(|one| one.trim() == LINES)
}

/// The whole body of a request.
async fn read(route: &Route, headers: &HeaderMap, body: Incoming) -> Result<Bytes, Refusal> {
    let most = route.body_bytes_max();
    let collected = timeout(PATIENCE, Limited::new(body, most).collect()).await;
    let bytes = match collected {
        Err(_) => return Err(refuse("slow", "body: it did not come within 5 s; send it at once")),
        Ok(Err(cause)) if cause.is::<LengthLimitError>() => {
            let message = format!("body: it has more than {most} bytes; send fields of the table");
            return Err(refuse("too-large", message));
        }
        Ok(Err(cause)) => {
            let message = format!("body: it broke off: {cause}; send it again");
            return Err(refuse("not-understood", message));
        }
        Ok(Ok(collected)) => collected.to_bytes(),
    };
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
    let kind = kind.split(';').next().unwrap_or("").trim();
    if !bytes.is_empty() && !kind.eq_ignore_ascii_case(JSON) {
        let message = format!(
            "body: its type is \"{}\"; send JSON, with content-type: {JSON}",
            kind.escape_debug()
        );
        return Err(refuse("media-type", message));
    }
    Ok(bytes)
}

/// What the loop is to be asked.
fn ask_of(route: &Route, given: &Given) -> Result<Ask, Refusal> {
    let (verb, volume) = match route.what {
        What::Ask(verb) => (verb(given), None),
        What::AskVolume(verb) => {
            let name = given.name(0);
            (verb(given), (name != ONLY).then_some(name))
        }
        _ => (None, None),
    };
    let verb = verb.ok_or_else(|| {
        refuse("not-understood", format!("path {}: the nodes are called a and b", route.path))
    })?;
    Ok(Ask { volume, dry_run: given.flag("dry_run"), verb })
}

async fn change(
    route: &Route,
    given: &Given,
    lines: bool,
    line: String,
    shared: &Arc<Shared>,
) -> Result<Response<Body>, Refusal> {
    let ask = ask_of(route, given)?;
    if ask.dry_run {
        return shared.ask(ask).await.map(|tell| told(&tell));
    }
    let mut seen = shared.begin(line, ask).await?;
    if lines {
        return Ok(follow::request(seen));
    }
    if !given.flag_or("wait", true) {
        return Ok(json(StatusCode::ACCEPTED, &*seen.borrow()));
    }
    // An error here is a task that ended without an end: the last report says what is known.
    let _ = seen.wait_for(|report| report.state != State::Waiting).await;
    let report = seen.borrow().clone();
    match report.error {
        Some(fault) => Err(Refusal::from(fault)),
        None => Ok(json(StatusCode::OK, &report)),
    }
}

fn told(tell: &Tell) -> Response<Body> {
    match tell {
        Tell::Status(report) => json(StatusCode::OK, report),
        Tell::Cluster(report) => json(StatusCode::OK, report),
        Tell::Stats(stats) => json(StatusCode::OK, stats),
        Tell::WhatIf(findings) => json(StatusCode::OK, findings),
        Tell::Events(events) => json(StatusCode::OK, events),
        Tell::Plan { refused, steps } => {
            let refused = refused.as_ref().map(Fault::from);
            json(StatusCode::OK, &Plan { refused, steps: steps.clone() })
        }
        Tell::Config(plan) => json(StatusCode::OK, plan),
        Tell::Refused(refusal) => problem(refusal),
        Tell::Applied(_) | Tell::Done | Tell::Progress { .. } => {
            json(StatusCode::OK, &serde_json::Value::Null)
        }
    }
}

/// The cluster, as the loop sees it.
pub(super) async fn cluster(shared: &Shared) -> Result<Box<ClusterReport>, Refusal> {
    let ask = Ask { volume: None, dry_run: false, verb: Verb::Cluster };
    match shared.ask(ask).await? {
        Tell::Cluster(report) => Ok(report),
        _ => Err(refuse("no-answer", "daemon: it answered something else; see its log")),
    }
}

async fn look(
    route: &Route,
    given: &Given,
    shared: &Arc<Shared>,
) -> Result<Response<Body>, Refusal> {
    let ok = StatusCode::OK;
    match route.what {
        What::Ask(_) | What::AskVolume(_) => {
            let ask = ask_of(route, given)?;
            if given.flag("follow") {
                return follow::reports(shared, ask).await;
            }
            shared.ask(ask).await.map(|tell| told(&tell))
        }
        What::Node => cluster(shared).await.map(|report| json(ok, &node(*report))),
        What::Monitors => cluster(shared).await.map(|report| json(ok, &report.monitors)),
        What::Events => {
            let (after, most) = super::routes::events(given);
            if given.flag("follow") {
                return follow::events(shared, after, most);
            }
            Ok(json(ok, &shared.diary.after(after, most.min(follow::EVENTS_MAX))))
        }
        What::Requests => Ok(json(ok, &shared.requests.list())),
        What::Request => {
            let seen = given.name(0).parse().ok().and_then(|id| shared.requests.find(id));
            let seen = seen.ok_or_else(|| {
                let message = "request: none of that number is remembered; see GET /v1/requests";
                refuse("no-request", message)
            })?;
            Ok(json(ok, &*seen.borrow()))
        }
        What::Metrics => metrics::answer(shared).await,
        What::Health => Ok(health::answer(shared, true).await),
        What::OpenApi => Ok(json(ok, &openapi::document(TABLE))),
        What::Page(kind, text) => Ok(whole(ok, kind, Bytes::from_static(text.as_bytes()))),
    }
}

fn node(report: ClusterReport) -> NodeReport {
    NodeReport {
        v: VERSION,
        version: lockstep_nbd::VERSION.to_owned(),
        cluster: report.cluster,
        node: report.node,
        hosts: report.hosts,
        part: report.part,
        leaving: report.leaving,
        observe_only: report.observe_only,
        peer: report.peer,
    }
}
