//! The admin client against an engine that is played by the test.

use super::*;
use lockstep_engine::units::{BootId, DiskState, Generation, InSyncMark, NodeId, Status, VolumeId};
use std::path::Path;
use tokio::net::UnixListener;

const BOOT: BootId = BootId(7);
/// Longer than any test.
const LONG: Duration = Duration::from_secs(60);
const MARK: InSyncMark = InSyncMark { generation: Generation(3), boot: BOOT };

fn status(start: u128, mark: Option<InSyncMark>) -> Status {
    Status {
        boot: BOOT,
        start: StartId(start),
        disk: DiskState::UpToDate,
        generation: Generation(3),
        mark,
        ..Status::at_rest(VolumeId(5), NodeId::B)
    }
}

/// One connection as the engine sees it.
struct Played {
    lines: tokio::io::Lines<BufReader<OwnedReadHalf>>,
    writer: OwnedWriteHalf,
}

impl Played {
    /// Greets, and takes `Attend` and `Watch`.
    async fn accept(listener: &UnixListener) -> Played {
        let (stream, _) = listener.accept().await.unwrap();
        let (reader, writer) = stream.into_split();
        let mut played = Played { lines: BufReader::new(reader).lines(), writer };
        let (build, config_digest) = ("b".to_owned(), "d".to_owned());
        played.say(&Line::Engine { v: admin::VERSION, build, config_digest }).await;
        assert_eq!(played.call().await.verb, Verb::Attend { suspend_max_ms: Some(60_000) });
        assert_eq!(played.call().await.verb, Verb::Watch);
        played
    }

    async fn say(&mut self, line: &Line) {
        let mut bytes = serde_json::to_vec(line).unwrap();
        bytes.push(b'\n');
        self.writer.write_all(&bytes).await.unwrap();
    }

    async fn call(&mut self) -> Call {
        let line = self.lines.next_line().await.unwrap().expect("a call");
        serde_json::from_str(&line).unwrap()
    }

    async fn status(&mut self, start: u128, mark: Option<InSyncMark>) {
        self.say(&Line::Status(Box::new(status(start, mark)))).await;
    }
}

/// The daemon's end, whole.
struct Daemon {
    engine: Engine,
    heard: mpsc::Receiver<Heard>,
}

fn connect(dir: &Path) -> (UnixListener, Daemon) {
    let socket = dir.join("engine.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let marks = MarkKeeper::open(dir.join("mark"), BOOT);
    connect_with(
        Link { volume: VolumeId(1), socket, suspend_max_ms: Some(60_000), marks, patience: LONG },
        listener,
    )
}

fn connect_with(link: Link, listener: UnixListener) -> (UnixListener, Daemon) {
    let (engine, heard) = Engine::connect(link);
    (listener, Daemon { engine, heard })
}

async fn event(daemon: &mut Daemon) -> Event {
    loop {
        if let Heard::Event(event) = daemon.heard.recv().await.expect("the task lives") {
            return event;
        }
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let limited = async { tokio::time::timeout(Duration::from_secs(20), test).await };
    runtime.block_on(limited).expect("the test ends in time");
}

#[test]
fn a_step_is_carried_and_its_refusal_comes_back_with_its_id() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let (listener, mut daemon) = connect(dir.path());
        let mut played = Played::accept(&listener).await;
        daemon.engine.step(StepId(42), &EngineCommand::Demote).unwrap();
        let call = played.call().await;
        assert_eq!(call.verb, Verb::Demote);
        let (code, message) = ("not-primary".to_owned(), String::new());
        let refused = Some(admin::Refused { code, message });
        played.say(&Line::Reply { id: call.id, refused }).await;
        let Event::EngineDone { id, refused } = event(&mut daemon).await else { panic!("done") };
        assert_eq!((id, refused.as_deref()), (StepId(42), Some("not-primary")));
    });
}

#[test]
fn an_engine_that_hangs_counts_as_gone() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("engine.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let marks = MarkKeeper::open(dir.path().join("mark"), BOOT);
        let patience = Duration::from_millis(400);
        let link =
            Link { volume: VolumeId(1), socket, suspend_max_ms: Some(60_000), marks, patience };
        let (listener, mut daemon) = connect_with(link, listener);
        let mut played = Played::accept(&listener).await;
        for _ in 0..8 {
            assert_eq!(played.call().await.verb, Verb::Status);
            played.status(1, None).await;
            assert!(matches!(event(&mut daemon).await, Event::Engine(_)), "it answers");
        }
        assert!(matches!(event(&mut daemon).await, Event::EngineGone { .. }));
    });
}

#[test]
fn a_restarted_engine_gets_its_mark_back_and_its_first_no_mark_does_not_erase_it() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let (listener, mut daemon) = connect(dir.path());
        let mut first = Played::accept(&listener).await;
        first.status(1, None).await;
        first.say(&Line::KeepMark { mark: Some(MARK) }).await;
        assert!(matches!(event(&mut daemon).await, Event::Engine(_)));
        drop(first);
        assert!(matches!(event(&mut daemon).await, Event::EngineGone { .. }));

        let mut second = Played::accept(&listener).await;
        second.say(&Line::KeepMark { mark: None }).await;
        second.status(2, None).await;
        second.say(&Line::KeepMark { mark: None }).await;
        let call = second.call().await;
        assert_eq!(call.verb, Verb::Mark { mark: MARK });
        second.say(&Line::Reply { id: call.id, refused: None }).await;
        second.status(2, Some(MARK)).await;
        while !matches!(event(&mut daemon).await, Event::Engine(status) if status.mark.is_some()) {}
        let kept = MarkKeeper::open(dir.path().join("mark"), BOOT);
        assert_eq!(kept.for_engine(StartId(3)), Some(MARK));
    });
}

#[test]
fn a_mark_that_the_engine_refuses_is_forgotten() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mark");
        MarkKeeper::open(path.clone(), BOOT).keep(StartId(1), Some(MARK));
        let (listener, mut daemon) = connect(dir.path());
        let mut played = Played::accept(&listener).await;
        played.status(2, None).await;
        let call = played.call().await;
        let (code, message) = ("generation".to_owned(), String::new());
        let refused = Some(admin::Refused { code, message });
        played.say(&Line::Reply { id: call.id, refused }).await;
        played.status(2, None).await;
        for _ in 0..2 {
            assert!(matches!(event(&mut daemon).await, Event::Engine(_)));
        }
        assert_eq!(MarkKeeper::open(path, BOOT).for_engine(StartId(3)), None);
    });
}

#[test]
fn without_an_engine_steps_and_calls_end_and_nothing_is_sent_later() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let (listener, mut daemon) = connect(dir.path());
        let mut played = Played::accept(&listener).await;
        let ended = daemon.engine.call(Verb::Stats);
        assert_eq!(played.call().await.verb, Verb::Stats);
        drop((played, listener));
        assert_eq!(ended.await.unwrap(), CallEnd::Gone);
        assert!(matches!(event(&mut daemon).await, Event::EngineGone { .. }));
        daemon.engine.step(StepId(1), &EngineCommand::Fence).unwrap();
        assert!(matches!(event(&mut daemon).await, Event::EngineGone { .. }));
        std::fs::remove_file(dir.path().join("engine.sock")).unwrap();
        let again = UnixListener::bind(dir.path().join("engine.sock")).unwrap();
        let mut played = Played::accept(&again).await;
        played.status(9, None).await;
        assert!(matches!(event(&mut daemon).await, Event::Engine(_)));
    });
}

#[test]
fn an_engine_of_another_language_is_not_spoken_to() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let (listener, daemon) = connect(dir.path());
        let (stream, _) = listener.accept().await.unwrap();
        let (reader, mut writer) = stream.into_split();
        let greeting = Line::Engine {
            v: admin::VERSION + 1,
            build: String::new(),
            config_digest: String::new(),
        };
        let mut bytes = serde_json::to_vec(&greeting).unwrap();
        bytes.push(b'\n');
        writer.write_all(&bytes).await.unwrap();
        let mut lines = BufReader::new(reader).lines();
        assert_eq!(lines.next_line().await.unwrap(), None, "closed without a word");
        drop(daemon);
    });
}
