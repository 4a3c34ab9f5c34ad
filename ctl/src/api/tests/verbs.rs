//! Looking, changing, following, and requests that outlive those who made them.

use super::lab::{Lab, code};
use crate::api::control::Tell;
use crate::cli::client::{self, CallError, To};
use crate::exit::Exit;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::api::control::Verb;

const SOON: Option<Duration> = Some(Duration::from_secs(20));

#[test]
fn the_client_gets_what_the_loop_tells_and_refusals_keep_their_code() {
    let lab = Lab::open();
    let socket = lab.socket();
    let call = |verb| client::call(&socket, verb, SOON, |_| {});
    assert!(matches!(call(Verb::Cluster), Ok(Tell::Cluster(report)) if report.safe));
    assert!(matches!(call(Verb::Stats), Ok(Tell::Stats(_))));
    assert!(
        matches!(call(Verb::Events { after: 0, most: 9 }), Ok(Tell::Events(all)) if all.len() == 1)
    );
    assert_eq!(client::status(&socket, SOON).unwrap().volume.name, "vol");
    let mut waits = Vec::new();
    let done = client::call(&socket, Verb::Stop, SOON, |wait| waits.push(wait.to_owned()));
    assert_eq!(done.unwrap(), Tell::Done);
    let Err(CallError::Refused(refusal)) = call(Verb::Move) else { panic!("not refused") };
    assert_eq!(refusal.message, "volume vol: it is elsewhere; go there");
    assert_eq!(Exit::of_refusal(&refusal.code), Exit::NotPrimary);
    let dry = To { dry_run: true, ..To::from(&socket) };
    let plan = client::call(dry, Verb::Stop, SOON, |_| {}).unwrap();
    assert!(matches!(plan, Tell::Plan { steps, .. } if steps == ["stop db"]));
    let file = || Verb::Apply { text: "# café\n".repeat(20 << 10) };
    let planned = client::call(dry, file(), SOON, |_| {}).unwrap();
    assert!(matches!(planned, Tell::Config(plan) if plan.changes.len() == 2));
    assert!(matches!(call(file()), Ok(Tell::Applied(applied)) if applied.both));
    let mut seen = 0;
    let watched = client::watch(&socket, SOON, |_| {
        seen += 1;
        (seen == 3).then_some(())
    });
    watched.unwrap();
}

#[test]
fn a_call_ends_at_its_deadline_and_an_empty_place_is_unreachable() {
    let lab = Lab::open();
    let socket = lab.socket();
    let late = client::call(&socket, Verb::Takeover, Some(Duration::from_secs(2)), |_| {});
    let id = lab.held.lock().unwrap()[0].id;
    let Err(CallError::Timeout { request, .. }) = late else { panic!("{late:?}") };
    assert_eq!(request, Some(id));
    let nobody = lab.dir.path().join("nobody");
    let gone = client::call(&nobody, Verb::Cluster, SOON, |_| {});
    assert!(matches!(gone, Err(CallError::Unreachable { .. })), "{gone:?}");
}

#[test]
fn a_request_outlives_its_client_and_says_how_it_ended() {
    let lab = Lab::open();
    let mut stream = UnixStream::connect(lab.socket()).unwrap();
    let head = "POST /v1/volumes/-/takeover HTTP/1.1\r\nhost: x\r\n\
                accept: application/x-ndjson\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut lines = BufReader::new(&stream).lines();
    let first = lines.find_map(|line| Some(line.ok()?).filter(|line| line.contains("\"id\"")));
    let report: serde_json::Value = serde_json::from_str(&first.unwrap()).unwrap();
    drop(lines);
    drop(stream);
    let id = report["id"].as_u64().unwrap();
    let line = format!("GET /v1/requests/{id}");
    // It is reported as soon as it is queued; the loop takes it up after that.
    let mut held = None;
    for _ in 0..200 {
        assert_eq!(lab.json(&line)["state"], "waiting");
        held = lab.held.lock().unwrap().pop();
        if held.is_some() {
            break;
        }
    }
    let request = held.unwrap();
    assert_eq!(request.id, id);
    request.tell.blocking_send(Tell::Done).unwrap();
    let mut watched = lab.json(&line);
    for _ in 0..200 {
        if watched["state"] == "done" {
            break;
        }
        watched = lab.json(&line);
    }
    assert_eq!(watched["state"], "done");
    assert_eq!(watched["request"], "POST /v1/volumes/-/takeover");
    assert_eq!(code(&lab.ask("GET /v1/requests/1", "", "").1), "no-request");
}

#[test]
fn a_request_need_not_be_waited_for() {
    let lab = Lab::open();
    let (status, body) = lab.ask("POST /v1/volumes/vol/takeover?wait=false", "", "");
    assert_eq!(status, 202, "{body}");
    let (status, body) = lab.ask("POST /v1/volumes/vol/stop", "", "");
    assert_eq!(status, 200, "{body}");
    assert!(body.contains("\"state\":\"done\""), "{body}");
    let (status, body) = lab.ask("POST /v1/volumes/vol/move", "", "");
    assert_eq!((status, code(&body).as_str()), (409, "not-primary"));
    assert!(body.contains("\"exit\":3") && body.contains("\"next\":\"go there\""), "{body}");
}

#[test]
fn events_are_followed() {
    use crate::act::events::Weight;
    let lab = Lab::open();
    let mut stream = UnixStream::connect(lab.socket()).unwrap();
    stream.write_all(b"GET /v1/events?follow=true HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut lines = BufReader::new(&stream).lines();
    let mut next = |word: &str| lines.find(|line| line.as_ref().unwrap().contains(word)).is_some();
    assert!(next("first"));
    lab.diary.note(8, Weight::Info, "test", None, "second".to_owned());
    assert!(next("second"));
}

#[test]
fn health_and_metrics_are_told() {
    let lab = Lab::open();
    let health = lab.json("GET /healthz");
    assert_eq!(health, serde_json::json!({ "healthy": true, "reasons": [] }));
    let (status, body) = lab.ask("GET /metrics", "", "");
    assert_eq!(status, 200, "{body}");
    assert!(body.contains("lockstep_safe 1\n"), "{body}");
    assert!(body.contains("lockstep_lease_seconds{volume=\"vol\"} 1.500000000\n"), "{body}");
}
