//! The admin language over real sockets, with a shell that only records.

use super::super::rig;
use super::*;
use crate::replica::event::Command;
use crate::units::{BootId, Generation, NodeId, StartId, VolumeId};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};

fn status() -> Status {
    Status {
        boot: BootId(2),
        start: StartId(3),
        generation: Generation(4),
        ..Status::at_rest(VolumeId(1), NodeId::A)
    }
}

struct Lab {
    hub: Hub,
    lane: AdminLane,
    reader: BufReader<UnixStream>,
    _dir: tempfile::TempDir,
}

impl Lab {
    fn new() -> Lab {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin");
        let mut hub = rig::hub();
        let listener = OwnedFd::from(UnixListener::bind(&path).unwrap());
        let hello = Hello { build: "test".into(), config_digest: "d".into() };
        let lane = AdminLane::new(&mut hub, hello, listener);
        let stream = UnixStream::connect(&path).unwrap();
        stream.set_nonblocking(true).unwrap();
        Lab { hub, lane, reader: BufReader::new(stream), _dir: dir }
    }

    fn turn(&mut self) {
        for done in rig::completions(&mut self.hub) {
            self.lane.done(&mut self.hub, done);
        }
        self.lane.flush(&mut self.hub, status);
    }

    fn say(&mut self, text: &str) {
        self.reader.get_mut().write_all(text.as_bytes()).unwrap();
    }

    fn line(&mut self) -> Line {
        let mut text = String::new();
        for _ in 0..1_000 {
            match self.reader.read_line(&mut text) {
                Ok(_) => return serde_json::from_str(&text).unwrap(),
                Err(_) => self.turn(),
            }
        }
        panic!("no line");
    }
}

#[test]
fn a_command_reaches_the_replica_and_its_refusal_the_caller() {
    let mut lab = Lab::new();
    assert!(matches!(lab.line(), Line::Engine { v: VERSION, .. }));
    lab.say("{\"v\":1,\"id\":7,\"verb\":\"demote\"}\n");
    while lab.hub.events.is_empty() {
        lab.turn();
    }
    let Some(Event::Command { cmd, what: Command::Demote }) = lab.hub.events.pop_front() else {
        panic!("a demote");
    };
    lab.lane.reply(cmd, Err(Refusal::NotPrimary));
    let Line::Reply { id: 7, refused: Some(refused) } = lab.line() else { panic!("a reply") };
    assert_eq!(refused.code, "not-primary");
}

#[test]
fn status_comes_before_its_reply_and_marks_reach_watchers() {
    let mut lab = Lab::new();
    lab.line();
    lab.say("{\"v\":1,\"id\":1,\"verb\":\"status\"}\n{\"v\":1,\"id\":2,\"verb\":\"watch\"}\n");
    let mut kinds = Vec::new();
    for _ in 0..3 {
        kinds.push(match lab.line() {
            Line::Status(_) => 's',
            Line::Reply { refused: None, .. } => 'r',
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(kinds, ['s', 'r', 'r'], "one line serves both");
    lab.lane.keep_mark(None);
    assert_eq!(lab.line(), Line::KeepMark { mark: None });
    lab.lane.status_changed();
    assert!(matches!(lab.line(), Line::Status(_)));
}

#[test]
fn stats_are_an_object() {
    let mut lab = Lab::new();
    lab.line();
    lab.say("{\"v\":1,\"id\":1,\"verb\":\"stats\"}\n");
    let Line::Stats(stats) = lab.line() else { panic!("stats") };
    assert!(stats["client_write"]["p99_ns"].is_u64());
}

#[test]
fn another_version_is_refused_with_a_word() {
    let mut lab = Lab::new();
    lab.line();
    lab.say("{\"v\":9,\"id\":1,\"verb\":\"fence\"}\n");
    let Line::Reply { refused: Some(refused), .. } = lab.line() else { panic!("a reply") };
    assert_eq!(refused.code, "version");
    assert!(lab.hub.events.is_empty());
}

#[test]
fn nonsense_and_endless_lines_end_the_connection() {
    for text in ["what?\n".to_string(), "x".repeat(LINE_BYTES_MAX + 1)] {
        let mut lab = Lab::new();
        lab.line();
        lab.reader.get_mut().set_nonblocking(false).unwrap();
        let mut stream = lab.reader.get_ref().try_clone().unwrap();
        let writer = std::thread::spawn(move || {
            let sent = stream.write_all(text.as_bytes());
            let mut rest = Vec::new();
            (sent.is_ok(), stream.read_to_end(&mut rest).is_ok(), rest)
        });
        while !writer.is_finished() {
            lab.turn();
        }
        let (_, _, rest) = writer.join().unwrap();
        assert!(rest.is_empty());
        assert!(lab.lane.conns.iter().all(Option::is_none));
    }
}
