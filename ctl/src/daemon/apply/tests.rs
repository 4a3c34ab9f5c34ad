//! Both nodes of a change, without the rest of their daemons: every step may be the last one of
//! either node, and an answer may be lost after the deed.

use super::coordinate::{self, Plan};
use super::words::{self, Ask};
use super::{Committed, Done, Draft, Source, peer};
use crate::act::heartbeat::PathAddress;
use crate::act::installed::Standing;
use crate::act::installed::compare::{Verdict, compare};
use crate::act::peer::{Asked, Caller, Life, Listener, Lives, Who};
use crate::api::control::Tell;
use crate::config::cluster::{Cluster, NodeView, changes};
use lockstep_engine::units::{BootId, ClusterId, NodeId, Nonce};
use lockstep_engine::wire::greeting::Key;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

/// A configuration whose hosts have what it names.
fn text(root: &Path, extra: &str) -> String {
    let root = root.display();
    format!(
        "[cluster]\nid = \"c1\"\nname = \"shop\"\nkey_file = \"{root}/key\"\n\
         [nodes.a]\nname = \"a\"\n[nodes.b]\nname = \"b\"\n\
         [paths]\nrun = {{ a = \"{root}/a\", b = \"{root}/b\" }}\n\
         state = {{ a = \"{root}/a\", b = \"{root}/b\" }}\n\
         [[interconnects]]\nname = \"wire\"\npriority = 1\nmirror = true\n\
         address = {{ a = \"127.0.0.1\", b = \"127.0.0.2\" }}\n\
         [arbiter]\ntype = \"directory\"\ndirectory = \"{root}\"\n\
         [lab]\nboot_id = {{ a = \"a1\", b = \"b1\" }}\n{extra}"
    )
}

fn monitor(name: &str, b: &str) -> String {
    format!(
        "[[monitors]]\nname = \"{name}\"\ntype = \"exec\"\n\
         command = {{ a = [\"/bin/true\"], b = [\"{b}\"] }}\n"
    )
}

/// What the other node does with an ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mood {
    Answers,
    /// Dead.
    DiesBefore,
    /// It does it, and nobody hears of it.
    DiesAfter,
}

struct Host {
    node: NodeId,
    file: PathBuf,
}

/// Two nodes with the same file.
struct Pair {
    dir: tempfile::TempDir,
}

impl Pair {
    fn new() -> Pair {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("key"), "5a".repeat(32)).unwrap();
        let pair = Pair { dir };
        for host in [pair.host(NodeId::A), pair.host(NodeId::B)] {
            fs::create_dir(host.file.parent().unwrap()).unwrap();
            fs::write(&host.file, text(pair.dir.path(), "")).unwrap();
            host.open();
        }
        pair
    }

    fn text(&self, extra: &str) -> String {
        text(self.dir.path(), extra)
    }

    fn host(&self, node: NodeId) -> Host {
        let file = self.dir.path().join(node.to_string()).join("cluster.toml");
        Host { node, file }
    }

    fn files(&self) -> [String; 2] {
        [NodeId::A, NodeId::B].map(|node| fs::read_to_string(self.host(node).file).unwrap())
    }
}

impl Host {
    /// What a daemon finds that is started now.
    fn open(&self) -> (NodeView, Source) {
        Source::open(&self.file, Some(self.node)).unwrap()
    }

    async fn standing(&self) -> Standing {
        let (_, source) = self.open();
        let record = source.record.clone();
        coordinate::standing(&source.installed, &record, source.running()).await.unwrap()
    }

    /// Answers calls in that mood; gives a caller for the other node. It ends with the listener.
    async fn answers(&self, mood: impl Fn(&Ask) -> Mood + Send + 'static) -> (Caller, Listener) {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let life = |n: u128| Life { boot: BootId(n), life: Nonce(n) };
        let (_, mine) = watch::channel(Lives { own: life(2), peer: Some(life(1)) });
        let (_, theirs) = watch::channel(Lives { own: life(1), peer: Some(life(2)) });
        let key = Key::new([7; 32]);
        let who = |node| Who::new(ClusterId(1), node, &key);
        let path = PathAddress { bind: free, peer: free };
        let (tell, mut asked) = mpsc::channel::<Asked>(8);
        let listener = Listener::open(&[path], who(self.node), mine, tell);
        while tokio::net::TcpStream::connect(free).await.is_err() {
            tokio::task::yield_now().await;
        }
        let host = Host { node: self.node, file: self.file.clone() };
        tokio::spawn(async move {
            let (view, source) = host.open();
            let source = Arc::new(Mutex::new(source));
            while let Some(Asked { body, answer }) = asked.recv().await {
                let ask = words::asked(&body).unwrap();
                let mood = mood(&ask);
                if mood == Mood::DiesBefore {
                    continue;
                }
                let held = source.lock().unwrap().clone();
                let said = match ask {
                    Ask::Standing => peer::tell_standing(&held).await,
                    Ask::Fetch => peer::fetch(&held).await,
                    Ask::Prepare { next, parent, text, rehearsal } => {
                        peer::prepare(&view, &held, next, parent, text, rehearsal).await
                    }
                    Ask::Commit { next } => {
                        peer::commit(&held, next.clone()).await.unwrap();
                        source.lock().unwrap().record = next;
                        words::Answer::Done
                    }
                };
                if mood == Mood::Answers {
                    drop(answer.send(Ok(words::answer(&said))));
                }
            }
        });
        let from = PathAddress { bind: "127.0.0.1:1".parse().unwrap(), peer: free };
        (Caller::new(vec![from], who(self.node.peer()), theirs), listener)
    }

    /// An operator brings a text to this node; all that he reads meanwhile is progress.
    async fn apply(&self, text: &str, caller: Option<Caller>) -> Done {
        let (view, source) = self.open();
        let cluster = Cluster::parse(text).unwrap();
        let changes = changes(&source.cluster, &cluster);
        let draft = Draft { text: text.to_owned(), cluster, changes, rests: Vec::new() };
        let (tell, mut told) = mpsc::channel(64);
        let plan = Plan { view, source, draft, stops: Vec::new(), caller, dry_run: false, tell };
        let done = coordinate::apply(plan).await;
        while let Ok(line) = told.try_recv() {
            assert!(matches!(line, Tell::Progress { .. }), "before the daemon is free: {line:?}");
        }
        done
    }
}

fn why(done: Done) -> String {
    let Done::Said { last, .. } = done else { panic!("{done:?}") };
    match *last {
        Tell::Refused(refusal) => refusal.message,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn both_nodes_end_with_the_file_whatever_of_the_other_one_is_lost() {
    type Of = fn(&Ask) -> Mood;
    let moods: [(Of, bool); 3] = [
        (|_| Mood::Answers, true),
        (
            |ask| if matches!(ask, Ask::Commit { .. }) { Mood::DiesBefore } else { Mood::Answers },
            false,
        ),
        (
            |ask| if matches!(ask, Ask::Commit { .. }) { Mood::DiesAfter } else { Mood::Answers },
            true,
        ),
    ];
    for (place, (mood, told)) in moods.into_iter().enumerate() {
        let pair = Pair::new();
        let (a, b) = (pair.host(NodeId::A), pair.host(NodeId::B));
        let new = pair.text(&monitor("one", "/bin/true"));
        let (caller, listener) = b.answers(mood).await;
        let done = a.apply(&new, Some(caller)).await;
        assert!(matches!(done, Done::Committed(_)), "{place}: {done:?}");
        drop(listener);
        let files = pair.files();
        assert_eq!((&files[0], files[1] == new), (&new, told), "{place}");
        // Both daemons are started again; the other one looks by itself.
        let (caller, _listener) = a.answers(|_| Mood::Answers).await;
        let (view, source) = b.open();
        let done = peer::catch_up(&view, &source, &caller).await.unwrap();
        match done {
            Done::Committed(committed) if !told => assert_eq!(committed.record.version, 1),
            Done::Looked { trouble: None } if told => {}
            other => panic!("{place}: {other:?}"),
        }
        assert_eq!(pair.files(), [new.clone(), new], "{place}");
        let (mine, theirs) = (a.standing().await, b.standing().await);
        assert_eq!(
            (&mine.record, compare(NodeId::A, &mine, &theirs)),
            (&theirs.record, Verdict::Fine)
        );
    }
}

#[tokio::test]
async fn what_the_other_node_does_not_say_yes_to_changes_nothing() {
    type Of = fn(&Ask) -> Mood;
    let rehearsed: Of = |ask| match ask {
        Ask::Prepare { rehearsal: false, .. } => Mood::DiesAfter,
        _ => Mood::Answers,
    };
    let dead: Of = |_| Mood::DiesBefore;
    let unprepared: Of = |ask| match ask {
        Ask::Prepare { .. } => Mood::DiesBefore,
        _ => Mood::Answers,
    };
    for mood in [rehearsed, dead, unprepared] {
        let pair = Pair::new();
        let (a, b) = (pair.host(NodeId::A), pair.host(NodeId::B));
        let old = pair.files();
        let (caller, listener) = b.answers(mood).await;
        let new = pair.text(&monitor("one", "/bin/true"));
        println!("{}", why(a.apply(&new, Some(caller)).await));
        drop(listener);
        assert_eq!(pair.files(), old);
        // What was prepared there is forgotten, and the next one, from the other side, is not.
        let (caller, _listener) = a.answers(|_| Mood::Answers).await;
        let other = pair.text(&monitor("other", "/bin/true"));
        let done = b.apply(&other, Some(caller)).await;
        assert!(matches!(done, Done::Committed(_)), "{done:?}");
        assert_eq!(pair.files(), [other.clone(), other]);
    }
}

#[tokio::test]
async fn a_file_that_does_not_do_there_is_refused_and_one_that_was_missed_waits_for_the_host() {
    let pair = Pair::new();
    let (a, b) = (pair.host(NodeId::A), pair.host(NodeId::B));
    let program = pair.dir.path().join("care");
    let new = pair.text(&monitor("care", &program.display().to_string()));
    let old = pair.files();
    let (caller, listener) = b.answers(|_| Mood::Answers).await;
    let said = why(a.apply(&new, Some(caller)).await);
    assert!(said.contains("node b: monitors.care.command") && said.contains("nothing was changed"));
    assert_eq!(pair.files(), old);
    drop(listener);
    // While it is away nobody can know; it says what it lacks when it is back.
    let done = a.apply(&new, None).await;
    assert!(matches!(done, Done::Committed(_)), "{done:?}");
    let (caller, _listener) = a.answers(|_| Mood::Answers).await;
    let (view, source) = b.open();
    let Done::Looked { trouble: Some(trouble) } =
        peer::catch_up(&view, &source, &caller).await.unwrap()
    else {
        panic!("it took the file over")
    };
    assert!(trouble.contains("has missed version 1") && trouble.contains("care"), "{trouble}");
    fs::write(&program, "").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&program, mode).unwrap();
    let done = peer::catch_up(&view, &source, &caller).await.unwrap();
    assert!(matches!(done, Done::Committed(_)), "{done:?}");
    assert_eq!(pair.files(), [new.clone(), new]);
}

#[tokio::test]
async fn files_that_were_changed_apart_are_refused_from_both_sides() {
    let pair = Pair::new();
    let (a, b) = (pair.host(NodeId::A), pair.host(NodeId::B));
    let (one, other) = (monitor("one", "/bin/true"), monitor("other", "/bin/true"));
    let (one, other) = (pair.text(&one), pair.text(&other));
    assert!(matches!(a.apply(&one, None).await, Done::Committed(_)));
    assert!(matches!(b.apply(&other, None).await, Done::Committed(_)));
    let files = pair.files();
    for (asked, answers) in [(&a, &b), (&b, &a)] {
        let (caller, _listener) = answers.answers(|_| Mood::Answers).await;
        let (view, source) = asked.open();
        match peer::catch_up(&view, &source, &caller).await.unwrap() {
            Done::Looked { trouble: Some(trouble) } => {
                assert!(trouble.contains("apart"), "{trouble}")
            }
            other => panic!("{other:?}"),
        }
        let third = pair.text(&monitor("third", "/bin/true"));
        let said = why(asked.apply(&third, Some(caller)).await);
        assert!(said.contains("changed on each node apart"), "{said}");
    }
    assert_eq!(pair.files(), files);
}

#[tokio::test]
async fn a_file_that_was_edited_by_hand_is_not_written_over_by_another_one() {
    let pair = Pair::new();
    let a = pair.host(NodeId::A);
    let (view, source) = a.open();
    let edited = pair.text(&monitor("edited", "/bin/true"));
    fs::write(&a.file, &edited).unwrap();
    // The daemon that runs does not know of it yet.
    let new = pair.text(&monitor("new", "/bin/true"));
    let cluster = Cluster::parse(&new).unwrap();
    let draft = Draft { text: new, cluster, changes: Vec::new(), rests: Vec::new() };
    let (tell, _told) = mpsc::channel(8);
    let plan = Plan { view, source, draft, stops: Vec::new(), caller: None, dry_run: false, tell };
    assert!(why(coordinate::apply(plan).await).contains("was edited since it was applied"));
    assert_eq!(fs::read_to_string(&a.file).unwrap(), edited);
    // Applied as it is, it becomes a version.
    let done = a.apply(&edited, None).await;
    let Done::Committed(committed) = done else { panic!("{done:?}") };
    let Committed { record, .. } = *committed;
    assert_eq!(record.version, 1);
    assert!(!a.standing().await.is_edited());
}
