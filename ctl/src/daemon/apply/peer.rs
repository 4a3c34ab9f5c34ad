//! The other side: what this node answers about its file, and how it catches up by itself.

use super::coordinate::{ask_file, ask_standing, host_lacks, on_disk, standing};
use super::words::{self, Answer, Ask};
use super::{Committed, Deferred, Done, LOOK_AGAIN, Phase, Source};
use crate::act::installed::compare::{Apart, Verdict, compare};
use crate::act::installed::{Digest, Record};
use crate::act::peer::{Asked, Caller, Refusal};
use crate::config::cluster::{Cluster, NodeView, changes};
use crate::daemon::{Daemon, End};
use lockstep_engine::units::Tick;

impl Daemon {
    /// The other daemon asks.
    pub(in crate::daemon) fn asked(&mut self, asked: Asked) {
        let Some(asked) = self.record_asked(asked) else { return };
        let changes_here =
            matches!(words::asked(&asked.body), Ok(Ask::Prepare { .. } | Ask::Commit { .. }));
        if changes_here && self.applying.is_short() {
            return self.applying.deferred.push(Deferred::Asked(asked));
        }
        let Asked { body, answer } = asked;
        let (ask, source) = match (words::asked(&body), &self.applying.source) {
            (Ok(ask), Some(source)) => (ask, source.clone()),
            (Err(refusal), _) => return drop(answer.send(Err(refusal))),
            (_, None) => return drop(answer.send(Err(Refusal::NotUnderstood))),
        };
        let node = self.view.node;
        let busy = self.applying.busy(node);
        if let (Some(busy), true) = (busy, changes_here) {
            let no = Answer::No { why: vec![busy] };
            return drop(answer.send(Ok(words::answer(&no))));
        }
        let stops = match &ask {
            Ask::Prepare { text, .. } => match Cluster::parse(text) {
                Ok(cluster) => self.stops(&changes(&source.cluster, &cluster)),
                Err(mistakes) => mistakes.iter().map(|one| format!("node {node}: {one}")).collect(),
            },
            _ => Vec::new(),
        };
        if changes_here {
            self.applying.phase = Phase::Working { operator: false };
        }
        let (view, ends) = (self.view.clone(), self.ends.clone());
        tokio::spawn(async move {
            let (said, done) = match ask {
                Ask::Standing => (tell_standing(&source).await, None),
                Ask::Fetch => (fetch(&source).await, None),
                Ask::Prepare { next, parent, text, rehearsal } => {
                    let said = match stops.is_empty() {
                        true => prepare(&view, &source, next, parent, text, rehearsal).await,
                        false => Answer::No { why: stops },
                    };
                    (said, Some(Done::Nothing))
                }
                Ask::Commit { next } => match commit(&source, next).await {
                    Ok(committed) => (Answer::Done, Some(committed)),
                    Err(why) => (no(&view, why), Some(Done::Nothing)),
                },
            };
            // Who does not wait any more asks again.
            drop(answer.send(Ok(words::answer(&said))));
            if let Some(done) = done {
                let _ = ends.send(End::Config(done)).await;
            }
        });
    }

    /// Looks at the other node's file when it may be another one than ours.
    pub(in crate::daemon) fn look_at_peer(&mut self, now: Tick) {
        let Some(source) = &self.applying.source else { return };
        let Some(packet) = self.exchange.peer() else { return };
        let key = (packet.life, packet.digest);
        let news = self.applying.looked != Some(key);
        let due = (news || self.digests_differ() || self.applying.trouble.is_some())
            && now >= self.applying.look_at;
        let idle = matches!(self.applying.phase, Phase::Idle);
        if !due || !idle || packet.digest == 0 || !self.peer_heard(now) {
            return;
        }
        let (source, view, caller) = (source.clone(), self.view.clone(), self.caller.clone());
        self.applying.looked = Some(key);
        self.applying.look_at = now.after(LOOK_AGAIN);
        self.applying.phase = Phase::Working { operator: false };
        let ends = self.ends.clone();
        tokio::spawn(async move {
            let done = catch_up(&view, &source, &caller).await.unwrap_or_else(|why| {
                tracing::debug!(why, "the other node's file is not known");
                Done::Nothing
            });
            // The receiver lives as long as the daemon.
            let _ = ends.send(End::Config(done)).await;
        });
    }
}

fn no(view: &NodeView, why: String) -> Answer {
    Answer::No { why: vec![format!("node {}: {why}", view.node)] }
}

pub(super) async fn tell_standing(source: &Source) -> Answer {
    match standing(&source.installed, &source.record, source.running()).await {
        Ok(standing) => Answer::Standing(standing),
        Err(why) => Answer::No { why: vec![why] },
    }
}

pub(super) async fn fetch(source: &Source) -> Answer {
    let installed = source.installed.clone();
    match on_disk(move || installed.text()).await {
        Ok(text) if Digest::of(&text) == source.record.digest => {
            Answer::File { record: source.record.clone(), text }
        }
        Ok(_) => Answer::No { why: vec!["the file was edited since it was applied".to_owned()] },
        Err(why) => Answer::No { why: vec![why] },
    }
}

pub(super) async fn prepare(
    view: &NodeView,
    source: &Source,
    next: Record,
    parent: Digest,
    text: String,
    rehearsal: bool,
) -> Answer {
    let tried = async {
        let mine = standing(&source.installed, &source.record, source.running()).await?;
        if mine.file != parent && mine.file != next.digest {
            return Err(format!(
                "the file here is another one (digest {}) than the one that is replaced ({}): \
                 compare both nodes' files",
                mine.file.short(),
                parent.short()
            ));
        }
        if next.version <= mine.record.version {
            let has = mine.record.version;
            return Err(format!("version {} does not come after version {has}", next.version));
        }
        if Digest::of(&text) != next.digest {
            return Err("the text is not what its digest says".to_owned());
        }
        let cluster = Cluster::parse(&text).map_err(|wrong| format!("{wrong:?}"))?;
        let lacks = host_lacks(view.clone(), cluster.node(view.node)).await?;
        if !lacks.is_empty() || rehearsal {
            return Ok(lacks);
        }
        let installed = source.installed.clone();
        on_disk(move || installed.prepare(&text, &next, parent)).await?;
        Ok(Vec::new())
    };
    match tried.await {
        Ok(lacks) if lacks.is_empty() => Answer::Done,
        Ok(lacks) => Answer::No {
            why: lacks.iter().map(|lack| format!("node {}: {lack}", view.node)).collect(),
        },
        Err(why) => no(view, why),
    }
}

pub(super) async fn commit(source: &Source, next: Record) -> Result<Done, String> {
    let (installed, record) = (source.installed.clone(), next.clone());
    let text = on_disk(move || {
        installed.commit(&record)?;
        installed.text()
    });
    done(next, text.await?)
}

fn done(record: Record, text: String) -> Result<Done, String> {
    let cluster = Cluster::parse(&text).map_err(|mistakes| format!("{mistakes:?}"))?;
    Ok(Done::Committed(Box::new(Committed { record, text, cluster, telling: None })))
}

/// Takes the other node's file if it is known to come after ours.
pub(super) async fn catch_up(
    view: &NodeView,
    source: &Source,
    caller: &Caller,
) -> Result<Done, String> {
    let me = view.node;
    let mine = standing(&source.installed, &source.record, source.running()).await?;
    let theirs = ask_standing(caller).await?;
    let trouble = |why: String| Ok(Done::Looked { trouble: Some(why) });
    match compare(me, &mine, &theirs) {
        Verdict::Fine => Ok(Done::Looked { trouble: None }),
        Verdict::Adopt(record) => {
            let (installed, adopted) = (source.installed.clone(), record.clone());
            on_disk(move || installed.adopt(&adopted)).await?;
            Ok(Done::Adopted(record))
        }
        Verdict::Apart => trouble(Apart { me, mine: &mine, theirs: &theirs }.to_string()),
        Verdict::Behind(expected) => {
            let (record, text) = ask_file(caller).await?;
            if record != expected {
                return Ok(Done::Nothing); // It went on meanwhile: looked at again.
            }
            let missed = format!("node {me} has missed version {} of cluster.toml", record.version);
            let cluster = match Cluster::parse(&text) {
                Ok(cluster) => cluster,
                Err(mistakes) => {
                    return trouble(format!("{missed} and can't read it: {}", mistakes[0]));
                }
            };
            let lacks = host_lacks(view.clone(), cluster.node(me)).await?;
            if !lacks.is_empty() {
                let lacks: Vec<String> = lacks.iter().map(ToString::to_string).collect();
                return trouble(format!("{missed} and can't take it over: {}", lacks.join("; ")));
            }
            let (installed, next, parent) = (source.installed.clone(), record.clone(), mine.file);
            let copy = text.clone();
            on_disk(move || {
                installed.prepare(&copy, &next, parent)?;
                installed.commit(&next)
            })
            .await?;
            done(record, text)
        }
    }
}
