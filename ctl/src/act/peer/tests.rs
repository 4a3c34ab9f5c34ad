//! Two daemons that call each other over the loopback, and strangers who try.

use super::frame::{HEAD_BYTES, Kind, seal};
use super::*;
use crate::act::heartbeat::PathAddress;
use lockstep_engine::wire::greeting::{FlowRole, Greeting};
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

const PATIENCE: Duration = Duration::from_secs(10);

fn life(n: u128) -> Life {
    Life { boot: BootId(100 + n), life: Nonce(n) }
}

fn key(byte: u8) -> Key {
    Key::new([byte; 32])
}

fn who(node: NodeId, byte: u8) -> Who {
    Who::new(ClusterId(7), node, &key(byte))
}

/// An address that nobody uses now.
async fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// Node b, which answers, and what it knows of a.
struct Side {
    address: SocketAddr,
    listener: Listener,
    asked: mpsc::Receiver<Asked>,
    lives: watch::Sender<Lives>,
}

async fn answerer() -> Side {
    let address = free().await;
    let (lives, seen) = watch::channel(Lives { own: life(2), peer: Some(life(1)) });
    let (tell, asked) = mpsc::channel(8);
    let path = PathAddress { bind: address, peer: address };
    let listener = Listener::open(&[path], who(NodeId::B, 1), seen, tell);
    // It listens as soon as its task has had its first turn.
    while TcpStream::connect(address).await.is_err() {
        tokio::task::yield_now().await;
    }
    Side { address, listener, asked, lives }
}

fn caller(paths: &[SocketAddr], byte: u8, lives: Lives) -> (Caller, watch::Sender<Lives>) {
    let (tell, seen) = watch::channel(lives);
    let path =
        |peer: &SocketAddr| PathAddress { bind: "127.0.0.1:1".parse().unwrap(), peer: *peer };
    let paths = paths.iter().map(path).collect();
    (Caller::new(paths, who(NodeId::A, byte), seen), tell)
}

fn of_a() -> Lives {
    Lives { own: life(1), peer: Some(life(2)) }
}

/// Answers every ask with its own bytes, and a mark behind them.
fn echo(mut asked: mpsc::Receiver<Asked>) {
    tokio::spawn(async move {
        while let Some(Asked { mut body, answer }) = asked.recv().await {
            body.truncate(BODY_BYTES_MAX - 1);
            body.push(b'!');
            let _ = answer.send(Ok(body));
        }
    });
}

#[tokio::test]
async fn an_ask_of_any_length_is_answered_and_one_that_is_too_long_is_not_sent() {
    let b = answerer().await;
    echo(b.asked);
    let (a, _lives) = caller(&[b.address], 1, of_a());
    assert_eq!(a.call(b"", PATIENCE).await.unwrap(), b"!");
    assert_eq!(a.call(b"who", PATIENCE).await.unwrap(), b"who!");
    let long = vec![b'x'; BODY_BYTES_MAX];
    assert_eq!(a.call(&long, PATIENCE).await.unwrap().len(), BODY_BYTES_MAX);
    let bytes = BODY_BYTES_MAX + 1;
    let refused = a.call(&vec![0; bytes], PATIENCE).await;
    assert_eq!(refused, Err(CallError::TooLarge { bytes }));
    assert_eq!(b.listener.counts().answered, 3);
}

#[tokio::test]
async fn without_the_key_nothing_is_asked_and_the_stranger_is_counted() {
    let mut b = answerer().await;
    let (a, _lives) = caller(&[b.address], 9, of_a());
    let refused = a.call(b"open", PATIENCE).await.unwrap_err();
    assert!(matches!(refused, CallError::NoPath { .. }), "{refused}");
    assert!(refused.is_certain());
    assert!(b.asked.try_recv().is_err());
    assert!(b.listener.counts().foreign >= 1, "{:?}", b.listener.counts());
    assert_eq!(b.listener.counts().answered, 0);
}

#[tokio::test]
async fn only_the_lives_that_heartbeats_know_may_call() {
    let b = answerer().await;
    echo(b.asked);
    let (a, lives) = caller(&[b.address], 1, Lives { own: life(1), peer: None });
    assert_eq!(a.call(b"x", PATIENCE).await, Err(CallError::NotHeard));
    // Node b was started anew, and its heartbeats have not come yet.
    lives.send_replace(Lives { own: life(1), peer: Some(life(3)) });
    let refused = a.call(b"x", PATIENCE).await.unwrap_err();
    assert!(refused.to_string().contains("another life"), "{refused}");
    // Node a was started anew, and b does not know yet.
    lives.send_replace(Lives { own: life(4), peer: Some(life(2)) });
    let refused = a.call(b"x", PATIENCE).await;
    assert_eq!(refused, Err(CallError::Refused(Refusal::OtherLife)));
    assert_eq!(b.listener.counts().other_life, 1);
    b.lives.send_replace(Lives { own: life(2), peer: Some(life(4)) });
    assert_eq!(a.call(b"x", PATIENCE).await.unwrap(), b"x!");
}

#[tokio::test]
async fn the_next_path_is_taken_when_the_best_one_is_down() {
    let b = answerer().await;
    echo(b.asked);
    let (a, _lives) = caller(&[free().await, b.address], 1, of_a());
    assert_eq!(a.call(b"x", PATIENCE).await.unwrap(), b"x!");
    let (nowhere, _lives) = caller(&[free().await, free().await], 1, of_a());
    match nowhere.call(b"x", PATIENCE).await {
        Err(CallError::NoPath { causes }) => assert_eq!(causes.len(), 2),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn strangers_who_say_nothing_keep_nobody_from_calling() {
    let b = answerer().await;
    echo(b.asked);
    let mut crowd = Vec::new();
    for _ in 0..3 * STRANGERS_MAX {
        crowd.push(TcpStream::connect(b.address).await.unwrap());
    }
    let (a, _lives) = caller(&[b.address], 1, of_a());
    assert_eq!(a.call(b"x", PATIENCE).await.unwrap(), b"x!");
    assert!(b.listener.counts().crowded >= 1);
    // The oldest were let go to make room.
    let mut ended = 0;
    for stream in &mut crowd {
        let read = tokio::time::timeout(Duration::from_millis(20), stream.read(&mut [0; 8])).await;
        ended += usize::from(matches!(read, Ok(Ok(0) | Err(_))));
    }
    assert!(ended >= STRANGERS_MAX, "{ended}");
}

/// A connection that has gone through the greeting, for those who then break the rules.
async fn proved(b: &Side) -> (TcpStream, [u8; 32]) {
    let (a, mut stream) = (who(NodeId::A, 1), TcpStream::connect(b.address).await.unwrap());
    let mut out = Vec::new();
    let config = a.greets(life(1));
    let mut greeting = Greeting::dial(&config, [5; 32], FlowRole::Control, &mut out);
    let mut input = Vec::new();
    loop {
        stream.write_all(&out).await.unwrap();
        out.clear();
        let mut buffer = [0; 512];
        let bytes = stream.read(&mut buffer).await.unwrap();
        assert!(bytes > 0);
        input.extend_from_slice(&buffer[..bytes]);
        let progress = greeting.feed(&input, &mut out).unwrap();
        input.drain(..progress.consumed);
        if let Some(greeted) = progress.done {
            return (stream, a.of_session(greeted.session));
        }
    }
}

#[tokio::test]
async fn bytes_that_are_no_call_are_refused_with_a_reason_and_counted() {
    let mut b = answerer().await;
    let garbage: Vec<u8> = (0..200_u8).map(|n| n.wrapping_mul(37)).collect();
    for bytes in [&garbage[..], b"GET / HTTP/1.1\r\n\r\n", &[0; 64]] {
        let mut stream = TcpStream::connect(b.address).await.unwrap();
        // The other side may have closed already.
        let _ = stream.write_all(bytes).await;
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    }
    let endless = {
        let (_, key) = proved(&b).await;
        let mut raw = seal(Kind::Ask, b"x", &key);
        raw[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        raw
    };
    let forged = seal(Kind::Ask, b"x", &[0; 32]);
    let (_, other_session) = proved(&b).await;
    let recorded = seal(Kind::Ask, b"x", &other_session);
    for raw in [endless, forged, recorded, vec![7; HEAD_BYTES]] {
        let (mut stream, key) = proved(&b).await;
        stream.write_all(&raw).await.unwrap();
        let answer = super::call::read(&mut stream, &key).await.unwrap();
        assert_eq!(answer.0, Kind::Refusal(Refusal::NotUnderstood));
    }
    assert!(b.asked.try_recv().is_err());
    let counts = b.listener.counts();
    assert!(counts.malformed >= 4 && counts.foreign >= 3, "{counts:?}");
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_unknown_or_refused_and_ends_in_time() {
    let mut b = answerer().await;
    let (a, _lives) = caller(&[b.address], 1, of_a());
    let began = Instant::now();
    let lost = a.call(b"x", Duration::from_millis(300)).await.unwrap_err();
    assert!(!lost.is_certain(), "{lost}");
    assert!(began.elapsed() < PATIENCE);
    drop(b.asked.recv().await.unwrap());
    let second = tokio::spawn(async move { a.call(b"y", PATIENCE).await });
    drop(b.asked.recv().await.unwrap().answer);
    let away = second.await.unwrap();
    assert_eq!(away, Err(CallError::Refused(Refusal::Away)));
    assert!(!away.unwrap_err().is_certain());
}

#[tokio::test]
async fn more_calls_than_are_answered_at_once_are_told_to_come_again() {
    let mut b = answerer().await;
    let (a, _lives) = caller(&[b.address], 1, of_a());
    let mut calls = Vec::new();
    let mut held = Vec::new();
    for _ in 0..CALLS_MAX {
        let a = a.clone();
        calls.push(tokio::spawn(async move { a.call(b"x", PATIENCE).await }));
        held.push(b.asked.recv().await.unwrap());
    }
    assert_eq!(a.call(b"y", PATIENCE).await, Err(CallError::Refused(Refusal::Busy)));
    for asked in held {
        asked.answer.send(Ok(b"done".to_vec())).unwrap();
    }
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap(), b"done");
    }
}
