//! Whoever means no good gets a clear answer, and the loop does not notice.

use super::lab::{Lab, TOKEN, code, split, text};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

/// Late turns of the loop that a busy machine makes by itself.
const LATE_MS_MAX: u64 = 1_000;

fn get(headers: &str) -> String {
    format!("GET /v1/status HTTP/1.1\r\nconnection: close\r\n{headers}\r\n")
}

#[test]
fn nothing_is_told_and_nothing_is_done_without_the_token() {
    let lab = Lab::open();
    let host = "host: 127.0.0.1\r\n";
    for headers in [
        host.to_owned(),
        format!("{host}authorization: Bearer wrong\r\n"),
        format!("{host}authorization: Bearer {}\r\n", &TOKEN[1..]),
        format!("{host}authorization: Basic OjA=\r\n"),
        format!("{host}authorization: {TOKEN}\r\n"),
    ] {
        let answer = lab.raw(get(&headers).as_bytes());
        let (status, body) = split(&answer);
        assert_eq!((status, code(&body).as_str()), (401, "not-authenticated"), "{headers}");
        assert!(answer.to_lowercase().contains("www-authenticate: basic"), "{answer}");
    }
    for path in ["/", "/page.js", "/metrics", "/v1/openapi.json", "/nowhere", "/v1/requests"] {
        let line = format!("GET {path} HTTP/1.1\r\nconnection: close\r\n{host}\r\n");
        assert_eq!(split(&lab.raw(line.as_bytes())).0, 401, "{path}");
    }
    let post = format!(
        "POST /v1/cluster/stop HTTP/1.1\r\nconnection: close\r\n{host}content-length: 0\r\n\r\n"
    );
    assert_eq!(split(&lab.raw(post.as_bytes())).0, 401);
    assert!(lab.asked.lock().unwrap().is_empty());
    // Of health, the bare word.
    let line = format!("GET /healthz HTTP/1.1\r\nconnection: close\r\n{host}\r\n");
    let (status, body) = split(&lab.raw(line.as_bytes()));
    assert_eq!((status, body.trim()), (200, "{\"healthy\":true}"));
    // However often: the loop is asked once in a while.
    let asked = lab.asked.lock().unwrap().len();
    let began = Instant::now();
    for _ in 0..50 {
        assert_eq!(split(&lab.raw(line.as_bytes())).0, 200);
    }
    let turns = usize::try_from(began.elapsed().as_secs()).unwrap() + 1;
    assert!(lab.asked.lock().unwrap().len() <= asked + 2 * turns);
}

#[test]
fn requests_that_make_no_sense_get_a_clear_answer() {
    let lab = Lab::open();
    let long = "x".repeat(5_000);
    for (line, headers, body, expected) in [
        ("DELETE /v1/status", "", "", (405, "no-method")),
        ("GET /v1/cluster/stop", "", "", (405, "no-method")),
        ("POST /v1/status", "", "", (405, "no-method")),
        ("TRACE /v1/status", "", "", (405, "no-method")),
        ("GET /v2/status", "", "", (400, "version")),
        ("GET /v1/status", "lockstep-api: 2\r\n", "", (400, "version")),
        ("GET /v1/nothing", "", "", (404, "no-path")),
        ("GET /v1/../v1/status", "", "", (404, "no-path")),
        ("GET /v1/%2e%2e/status", "", "", (404, "no-path")),
        ("GET //v1/status", "", "", (404, "no-path")),
        ("GET /v1/status/", "", "", (404, "no-path")),
        ("GET /page.css/../../etc/passwd", "", "", (404, "no-path")),
        ("GET /%00", "", "", (404, "no-path")),
        ("OPTIONS *", "", "", (404, "no-path")),
        ("GET http://127.0.0.1/v1/status", "", "", (400, "not-understood")),
        ("CONNECT 127.0.0.1:1", "", "", (400, "not-understood")),
        ("GET /v1/what-if/node-down/c", "", "", (400, "not-understood")),
        ("GET /v1/status?x=1", "", "", (400, "not-understood")),
        ("GET /v1/events?after=-1", "", "", (400, "not-understood")),
        ("GET /v1/requests/../../x", "", "", (404, "no-path")),
        ("GET /v1/requests/99999999999999999999", "", "", (404, "no-request")),
        ("POST /v1/groups/db/stop", "origin: http://evil.example\r\n", "", (403, "other-origin")),
        ("POST /v1/groups/db/stop", "sec-fetch-site: cross-site\r\n", "", (403, "other-origin")),
        ("POST /v1/groups/db/stop", "", "{}", (415, "media-type")),
        ("POST /v1/groups/db/stop", "content-type: text/plain\r\n", "{}", (415, "media-type")),
        (
            "POST /v1/groups/db/stop",
            "content-type: application/json\r\n",
            "{",
            (400, "not-understood"),
        ),
        (
            "POST /v1/groups/db/stop",
            "content-type: application/json\r\n",
            &long,
            (413, "too-large"),
        ),
    ] {
        let (status, body) = lab.ask(line, headers, body);
        assert_eq!((status, code(&body).as_str()), expected, "{line} {headers}");
    }
    assert!(lab.asked.lock().unwrap().is_empty(), "{:?}", lab.asked.lock().unwrap());
}

#[test]
fn another_name_for_this_node_is_refused() {
    let lab = Lab::open();
    let token = format!("authorization: Bearer {TOKEN}\r\n");
    for (host, status) in [
        ("host: evil.example\r\n", 421),
        ("host: node-1.evil.example\r\n", 421),
        ("host: 127.0.0.1.evil.example\r\n", 421),
        ("host: a\r\nhost: 127.0.0.1\r\n", 421),
        ("", 421),
        ("host: NODE-1:80\r\n", 200),
        ("host: localhost\r\n", 200),
        ("host: [::1]:7791\r\n", 200),
    ] {
        let (found, body) = split(&lab.raw(get(&format!("{host}{token}")).as_bytes()));
        assert_eq!(found, status, "{host}: {body}");
    }
}

#[test]
fn heads_that_are_too_long_or_no_heads_are_refused() {
    let lab = Lab::open();
    let token = format!("authorization: Bearer {TOKEN}\r\nhost: 127.0.0.1\r\n");
    let long = format!("{token}x: {}\r\n", "y".repeat(40_000));
    assert_eq!(split(&lab.raw(get(&long).as_bytes())).0, 431);
    let many = format!("{token}{}", "x: y\r\n".repeat(200));
    assert_eq!(split(&lab.raw(get(&many).as_bytes())).0, 431);
    let line = format!("GET /{} HTTP/1.1\r\n{token}\r\n", "z".repeat(40_000));
    let status = split(&lab.raw(line.as_bytes())).0;
    assert!([414, 431].contains(&status), "{status}");
    for garbage in
        [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], b"\0\0\0\0", b"\xff\xfe\r\n\r\n"]
    {
        let mut bytes = garbage.to_vec();
        bytes.extend_from_slice(b"\r\n\r\n");
        assert_eq!(split(&lab.raw(&bytes)).0, 400, "{garbage:?}");
    }
    let both = "POST /v1/groups/db/stop HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 3\r\n\
                content-length: 4\r\n\r\nabcd";
    assert_eq!(split(&lab.raw(both.as_bytes())).0, 400);
    assert_eq!(lab.json("GET /v1/cluster")["node"], "a");
}

#[test]
fn slow_heads_and_bodies_are_ended() {
    let lab = Lab::open();
    let began = Instant::now();
    let mut head = lab.dial();
    head.write_all(b"GET /v1/status HTTP/1.1\r\nhost: 1").unwrap();
    let mut body = lab.dial();
    let start = format!(
        "POST /v1/groups/db/stop HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {TOKEN}\r\n\
         content-length: 100\r\n\r\n{{"
    );
    body.write_all(start.as_bytes()).unwrap();
    let mut drip = head.try_clone().unwrap();
    let dripping = thread::spawn(move || {
        // A byte now and then does not buy more time.
        for _ in 0..40 {
            thread::sleep(Duration::from_millis(250));
            if drip.write_all(b"x").is_err() {
                return;
            }
        }
    });
    let (status, told) = split(&text(&mut head));
    assert_eq!((status, code(&told).as_str()), (408, "slow"));
    drop(head);
    let mut answer = [0; 12];
    std::io::Read::read_exact(&mut body, &mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    dripping.join().unwrap();
}

fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// Both ends of every connection are in this process.
fn more_files() {
    let hard = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard }).unwrap();
}

#[test]
fn a_thousand_connections_are_answered_or_let_go_and_the_socket_stays_free() {
    more_files();
    let lab = Lab::open();
    let before = resident_bytes();
    lab.late_ms.store(0, Ordering::Relaxed);
    let all: Vec<TcpStream> = (0..1_000).map(|_| lab.dial()).collect();
    // Operators on this host have places of their own.
    assert_eq!(lab.ask_unix("GET /v1/cluster").0, 200);
    let mut busy = 0;
    let mut slow = 0;
    for mut stream in all {
        match split(&text(&mut stream)) {
            (503, _) => busy += 1,
            (408, _) => slow += 1,
            (0, _) => {}
            (other, body) => panic!("{other}: {body}"),
        }
    }
    assert!(slow >= 1 && busy >= 64, "{slow} slow, {busy} busy");
    let after = resident_bytes();
    assert!(after < before + (64 << 20), "{before} became {after}");
    assert_eq!(lab.json("GET /v1/cluster")["node"], "a");
    let late = lab.late_ms.load(Ordering::Relaxed);
    assert!(late < LATE_MS_MAX, "the loop stood still for {late} ms");
}

#[test]
fn floods_of_questions_and_of_followers_are_bounded() {
    let lab = Lab::open();
    lab.late_ms.store(0, Ordering::Relaxed);
    let token = format!("authorization: Bearer {TOKEN}\r\nhost: 127.0.0.1\r\n");
    let follow = format!("GET /v1/status?follow=true HTTP/1.1\r\n{token}\r\n");
    let mut followers = Vec::new();
    let mut refused = 0;
    for _ in 0..40 {
        let mut stream = lab.dial();
        stream.write_all(follow.as_bytes()).unwrap();
        let mut head = [0; 12];
        std::io::Read::read_exact(&mut stream, &mut head).unwrap();
        refused += u32::from(&head == b"HTTP/1.1 503");
        // They are not read from here on.
        followers.push(stream);
    }
    assert_eq!(refused, 8);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..50 {
                    assert_eq!(lab.ask_unix("GET /v1/status").0, 200);
                }
            });
        }
    });
    let late = lab.late_ms.load(Ordering::Relaxed);
    assert!(late < LATE_MS_MAX, "the loop stood still for {late} ms");
    drop(followers);
}
