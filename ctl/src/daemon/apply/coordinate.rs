//! The two phases, on the node that an operator has asked. Always: nothing of the other node is
//! changed before both have said that the file would do; the rename here comes first, so that the
//! other node can fetch the file from then on, whatever becomes of the rest.

use super::words::{self, Answer, Ask};
use super::{Committed, Done, Draft, Source, Telling};
use crate::act::clock;
use crate::act::installed::compare::{Apart, Verdict, compare};
use crate::act::installed::{Digest, InstallError, Installed, Record, Standing};
use crate::act::peer::Caller;
use crate::act::suits::{self, Lack};
use crate::act::work::{self, Unfinished};
use crate::api::control::{Refusal, Tell};
use crate::config::cluster::NodeView;
use lockstep_engine::units::{NodeId, Span};
use std::time::Duration;
use tokio::sync::mpsc;

/// Files are looked at and written within this.
const DISK_MAX: Span = Span::millis(10_000);
/// One call.
const CALL_MAX: Duration = Duration::from_secs(15);
/// The other node is told this often to commit; after that it fetches the file by itself.
const COMMITS_MAX: u32 = 3;

/// What is to be done.
pub(super) struct Plan {
    pub view: NodeView,
    pub source: Source,
    pub draft: Draft,
    /// What must be stopped first.
    pub stops: Vec<String>,
    /// The other daemon, when it is heard.
    pub caller: Option<Caller>,
    pub dry_run: bool,
    pub tell: mpsc::Sender<Tell>,
}

/// Why it is not done.
struct No {
    code: &'static str,
    message: String,
}

impl Plan {
    pub(super) fn digest(&self) -> Digest {
        Digest::of(&self.draft.text)
    }

    fn progress(&self, message: &str) {
        let progress = Tell::Progress { waiting: "config".to_owned(), message: message.to_owned() };
        // Who does not read needs no progress.
        let _ = self.tell.try_send(progress);
    }
}

fn no(code: &'static str) -> impl Fn(String) -> No {
    move |message| No { code, message }
}

/// Does it; the last word is for the daemon to say, once it can be asked for the next thing.
pub(super) async fn apply(plan: Plan) -> Done {
    match tried(&plan).await {
        Ok(done) => done,
        Err(No { code, message }) => {
            let last = Tell::Refused(Refusal { code: code.to_owned(), message });
            Done::Said { tell: plan.tell, last: Box::new(last) }
        }
    }
}

async fn tried(plan: &Plan) -> Result<Done, No> {
    let (node, digest) = (plan.view.node, plan.digest());
    let standing = standing_here(&plan.source, digest).await.map_err(no("config-files"))?;
    let next = standing.record.next(digest);
    let lacks = here(plan).await?;
    let mut lacks: Vec<String> = lacks.iter().map(|lack| format!("node {node}: {lack}")).collect();
    let prepare = |rehearsal| Ask::Prepare {
        next: next.clone(),
        parent: standing.file,
        text: plan.draft.text.clone(),
        rehearsal,
    };
    let other = match &plan.caller {
        Some(caller) => {
            agree(plan, caller, &standing).await?;
            lacks.extend(ask_prepare(caller, node, prepare(true)).await?);
            format!("node {} takes it over at once", node.peer())
        }
        None => format!("node {} is not heard: it gets it when it returns", node.peer()),
    };
    if plan.dry_run {
        let told = plan.draft.told(&plan.stops, lacks, &other);
        let last = Box::new(Tell::Config(Box::new(told)));
        return Ok(Done::Said { tell: plan.tell.clone(), last });
    }
    let wrong: Vec<String> = plan.stops.iter().chain(&lacks).cloned().collect();
    if !wrong.is_empty() {
        return Err(no("config-refused")(format!("nothing was changed: {}", wrong.join("; "))));
    }
    if digest == standing.record.digest && digest == plan.source.running() {
        return Err(no("config-same")("this file is applied already; nothing was changed".into()));
    }
    plan.progress("for both nodes to prepare it");
    if let Some(caller) = &plan.caller {
        let wrong = ask_prepare(caller, node, prepare(false)).await?;
        if !wrong.is_empty() {
            return Err(no("config-refused")(format!("nothing was changed: {}", wrong.join("; "))));
        }
    }
    commit_here(plan, &next, standing.file).await?;
    let other = match &plan.caller {
        Some(caller) => commit_there(plan, caller, &next).await,
        None => format!("node {} gets it when it returns", node.peer()),
    };
    plan.progress("for this node to take it over");
    Ok(Done::Committed(Box::new(Committed {
        record: next,
        text: plan.draft.text.clone(),
        cluster: plan.draft.cluster.clone(),
        telling: Some(Telling { tell: plan.tell.clone(), other, heard: plan.caller.is_some() }),
    })))
}

/// What lies here; a file that was edited in place to what is applied counts as not edited.
async fn standing_here(source: &Source, applied: Digest) -> Result<Standing, String> {
    let mut standing = standing(&source.installed, &source.record, source.running()).await?;
    if standing.file == applied {
        standing.file = standing.record.digest;
    }
    // With an edited file, a daemon must have been started: then it is what both must have.
    if standing.is_edited() && standing.file != standing.running {
        return Err(format!(
            "{} was edited since it was applied and is not what runs (digest {}): apply that file, \
             or put back what runs; nothing was changed",
            source.installed.file().display(),
            standing.file.short()
        ));
    }
    Ok(standing)
}

/// What lies on this node.
pub(super) async fn standing(
    installed: &Installed,
    record: &Record,
    running: Digest,
) -> Result<Standing, String> {
    let (files, record) = (installed.clone(), record.clone());
    let text = on_disk(move || files.text()).await?;
    Ok(Standing { record, file: Digest::of(&text), running })
}

/// Does something with files, on a thread of its own.
pub(super) async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, InstallError> + Send + 'static,
) -> Result<T, String> {
    match work::run("config", clock::now().after(DISK_MAX), work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(error.to_string()),
        Err(unfinished) => Err(late(&unfinished)),
    }
}

fn late(unfinished: &Unfinished) -> String {
    format!("the files of the configuration: {unfinished:?}; check the disk and apply again")
}

/// What this host lacks for the new file.
pub(super) async fn host_lacks(old: NodeView, new: NodeView) -> Result<Vec<Lack>, String> {
    let work = move || suits::new_lacks(&old, &new);
    let deadline = clock::now().after(DISK_MAX);
    work::run("config", deadline, work).await.map_err(|unfinished| late(&unfinished))
}

async fn here(plan: &Plan) -> Result<Vec<Lack>, No> {
    let new = plan.draft.cluster.node(plan.view.node);
    host_lacks(plan.view.clone(), new).await.map_err(no("config-files"))
}

/// Both nodes must have the same file.
async fn agree(plan: &Plan, caller: &Caller, mine: &Standing) -> Result<(), No> {
    let me = plan.view.node;
    let theirs = ask_standing(caller).await.map_err(no("config-peer"))?;
    let apart = || Apart { me, mine, theirs: &theirs }.to_string();
    match compare(me, mine, &theirs) {
        Verdict::Apart => return Err(no("config-apart")(apart())),
        Verdict::Behind(_) => {
            let peer = me.peer();
            let why = format!("node {peer} has a newer file; it is being taken over, apply again");
            return Err(no("busy")(why));
        }
        Verdict::Fine | Verdict::Adopt(_) => {}
    }
    if theirs.file != mine.file {
        let why = format!(
            "node {} has another file (digest {} there, {} here) and is about to take this one; \
             apply again in a moment",
            me.peer(),
            theirs.file.short(),
            mine.file.short()
        );
        return Err(no("busy")(why));
    }
    Ok(())
}

/// What lies on the other node.
pub(super) async fn ask_standing(caller: &Caller) -> Result<Standing, String> {
    match ask(caller, Ask::Standing).await? {
        Answer::Standing(standing) => Ok(standing),
        other => Err(strange(&other)),
    }
}

async fn ask(caller: &Caller, ask: Ask) -> Result<Answer, String> {
    let body = caller.call(&words::ask(ask), CALL_MAX).await.map_err(|error| error.to_string())?;
    words::answered(&body).ok_or_else(|| {
        "the other daemon answers in words of another release; bring both to the same".to_owned()
    })
}

fn strange(answer: &Answer) -> String {
    match answer {
        Answer::No { why } => why.join("; "),
        _ => "the other daemon answered something else; restart it".to_owned(),
    }
}

/// The file of the other node.
pub(super) async fn ask_file(caller: &Caller) -> Result<(Record, String), String> {
    match ask(caller, Ask::Fetch).await? {
        Answer::File { record, text } if Digest::of(&text) == record.digest => Ok((record, text)),
        other => Err(strange(&other)),
    }
}

/// Why it does not do on the other node; empty when it does.
async fn ask_prepare(caller: &Caller, node: NodeId, prepare: Ask) -> Result<Vec<String>, No> {
    match ask(caller, prepare).await {
        Ok(Answer::Done) => Ok(Vec::new()),
        Ok(Answer::No { why }) => Ok(why),
        Ok(other) => Err(no("config-peer")(strange(&other))),
        Err(cause) => {
            let peer = node.peer();
            Err(no("config-peer")(format!("node {peer}: {cause}; nothing was changed")))
        }
    }
}

async fn commit_here(plan: &Plan, next: &Record, parent: Digest) -> Result<(), No> {
    let (installed, next) = (plan.source.installed.clone(), next.clone());
    let text = plan.draft.text.clone();
    let done = on_disk(move || {
        installed.prepare(&text, &next, parent)?;
        installed.commit(&next)
    });
    done.await.map_err(|cause| No {
        code: "config-files",
        message: format!("{cause}; nothing runs with it"),
    })
}

/// Tells the other node; it can also find out by itself.
async fn commit_there(plan: &Plan, caller: &Caller, next: &Record) -> String {
    let peer = plan.view.node.peer();
    let mut why = String::new();
    for _ in 0..COMMITS_MAX {
        match ask(caller, Ask::Commit { next: next.clone() }).await {
            Ok(Answer::Done) => return format!("node {peer} has it"),
            Ok(other) => {
                why = strange(&other);
                break;
            }
            Err(cause) => why = cause,
        }
        plan.progress(&format!("for node {peer}: {why}"));
    }
    tracing::warn!(why, "the other node could not be told; it fetches the file by itself");
    format!("node {peer} fetches it when it can ({why})")
}
