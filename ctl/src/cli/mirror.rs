//! The verbs of a mirror: ask the daemon, wait, show, exit with a code that a script can use.

use super::client::{self, CallError, To};
use super::interrupt::Interrupt;
use super::wait::Waiting;
use super::{MirrorVerb, force, show};
use crate::api::control::{Tell, Verb};
use crate::exit::Exit;
use crate::status::render::render;
use crate::status::words::bytes;
use crate::status::{Colour, Report};
use lockstep_engine::units::{BLOCK_BYTES, Mirror, Role};
use std::time::{Duration, Instant};

/// Longest wait for an answer that the daemon gives by itself, without anybody else.
const ANSWER: Duration = Duration::from_secs(5);

/// A comparison that was not seen to run within this has ended.
const UNSEEN_MAX: Duration = Duration::from_secs(2);

/// Runs one verb.
pub fn run(to: To<'_>, timeout: Option<u64>, verb: &MirrorVerb) -> Exit {
    let timeout = timeout.map(Duration::from_secs);
    let ended = match verb {
        MirrorVerb::Status { json, watch: false } => status(to, timeout, *json),
        MirrorVerb::Status { json, watch: true } => watch(to, timeout, *json),
        MirrorVerb::Create { both_blank } => {
            let verb = Verb::Create { both_blank: *both_blank };
            act(to, timeout, verb, "created; run `lockstep mirror start` where it should serve")
        }
        MirrorVerb::Start { without_peer } => {
            act(to, timeout, Verb::Start { without_peer: *without_peer }, "serving here")
        }
        MirrorVerb::Takeover => act(to, timeout, Verb::Takeover, "serving here"),
        MirrorVerb::Move => hand_over(to, timeout),
        MirrorVerb::Stop => act(to, timeout, Verb::Stop, "stopped; nobody serves"),
        MirrorVerb::Resync => resync(to, timeout),
        MirrorVerb::Verify { stop: false } => verify(to, timeout),
        MirrorVerb::Verify { stop: true } => {
            act(to, timeout, Verb::Verify { start: false }, "comparison stopped")
        }
        MirrorVerb::Pause => {
            act(to, timeout, Verb::PauseSync { paused: true }, "resync is held back")
        }
        MirrorVerb::Resume => act(to, timeout, Verb::PauseSync { paused: false }, "resync goes on"),
        MirrorVerb::Stats => stats(to, timeout),
        MirrorVerb::ForcePromote { yes_i_lose } => force::run(to, timeout, yes_i_lose.as_deref()),
        MirrorVerb::DiscardLocal { yes_i_lose } => {
            force::discard(to, timeout, yes_i_lose.as_deref())
        }
    };
    ended.unwrap_or_else(|error| failed(&error))
}

/// Shows an error; gives its exit code.
pub(super) fn failed(error: &CallError) -> Exit {
    show::error(&error.to_string());
    match error {
        CallError::Unreachable { .. } => Exit::Unreachable,
        CallError::Timeout { .. } => Exit::Timeout,
        CallError::Lost { .. } | CallError::Confused { .. } => Exit::Failed,
        CallError::Refused(refusal) => Exit::of_refusal(&refusal.code),
    }
}

/// A verb that changes something: waits for its end and says so.
pub(super) fn act(
    to: To<'_>,
    timeout: Option<Duration>,
    verb: Verb,
    done: &str,
) -> Result<Exit, CallError> {
    let interrupt = (!to.dry_run).then(Interrupt::told);
    let mut waiting = Waiting::new();
    let last =
        client::call(to, verb, timeout, |message| waiting.show(&format!("waiting {message}")))?;
    drop(waiting);
    drop(interrupt);
    Ok(match last {
        Tell::Plan { refused, steps } => {
            show::plan(refused.as_ref().map(|why| why.message.as_str()), &steps)
        }
        _ => {
            show::result(done);
            Exit::Ok
        }
    })
}

/// Moves the volume, and waits until the peer is seen to serve: clients may go there then.
fn hand_over(to: To<'_>, timeout: Option<Duration>) -> Result<Exit, CallError> {
    let exit = act(to, timeout, Verb::Move, "handed over to the peer")?;
    if to.dry_run {
        return Ok(exit);
    }
    let serves = client::watch(to, timeout.or(Some(ANSWER)), |report| {
        let status = report.engine.as_ref()?.status.as_ref()?;
        (status.peer_role == Some(Role::Primary)).then_some(report.node.peer())
    });
    match serves {
        Ok(peer) => {
            show::result(&format!("node {peer} serves"));
            Ok(exit)
        }
        Err(CallError::Timeout { .. }) => {
            show::error("the peer does not serve yet; see `lockstep mirror status` there");
            Ok(Exit::Degraded)
        }
        Err(error) => Err(error),
    }
}

/// The code that a status stands for.
fn exit_of(report: &Report) -> Exit {
    match &report.summary {
        summary if summary.split_brain => Exit::SplitBrain,
        summary if summary.safe => Exit::Ok,
        _ => Exit::Degraded,
    }
}

fn show_report(report: &Report, json: bool) {
    if !json {
        return show::result(&render(report, show::on_terminal()));
    }
    match serde_json::to_string_pretty(report) {
        Ok(text) => show::machine(&text),
        Err(cause) => show::error(&format!("status: {cause}; this is a defect, report it")),
    }
}

fn status(to: To<'_>, timeout: Option<Duration>, json: bool) -> Result<Exit, CallError> {
    let report = client::status(to, timeout.or(Some(ANSWER)))?;
    show_report(&report, json);
    Ok(exit_of(&report))
}

fn watch(to: To<'_>, timeout: Option<Duration>, json: bool) -> Result<Exit, CallError> {
    let mut last = String::new();
    client::watch(to, timeout, |report| {
        let seen = format!("{:?}", report.summary);
        if seen != last {
            show_report(report, json);
            last = seen;
        }
        None
    })
}

fn stats(to: To<'_>, timeout: Option<Duration>) -> Result<Exit, CallError> {
    match client::call(to, Verb::Stats, timeout.or(Some(ANSWER)), |_| {})? {
        Tell::Stats(stats) => {
            show::machine(&serde_json::to_string_pretty(&stats).unwrap_or_default());
            Ok(Exit::Ok)
        }
        _ => Err(CallError::Confused { socket: to.socket.to_owned() }),
    }
}

fn resync(to: To<'_>, timeout: Option<Duration>) -> Result<Exit, CallError> {
    let verb = Verb::PauseSync { paused: false };
    if to.dry_run {
        return act(to, timeout, verb, "");
    }
    let interrupt = Interrupt::told();
    client::call(to, verb, timeout.or(Some(ANSWER)), |_| {})?;
    let mut waiting = Waiting::new();
    let exit = client::watch(to, timeout, |report| {
        waiting.show(&report.summary.mirror);
        let status = report.engine.as_ref().and_then(|engine| engine.status.as_ref());
        let broken = status.is_some_and(|status| status.split_brain)
            || (report.summary.colour == Colour::Red
                && status.is_some_and(|status| status.mirror != Mirror::Solo));
        match report.summary.colour {
            Colour::Green => Some(Exit::Ok),
            _ if broken => Some(exit_of(report)),
            _ => None,
        }
    })?;
    drop(waiting);
    drop(interrupt);
    match exit {
        Exit::Ok => show::result("in sync: both nodes hold every acknowledged write"),
        _ => show::error("the mirror can't be resynced now; see `lockstep mirror status`"),
    }
    Ok(exit)
}

fn verify(to: To<'_>, timeout: Option<Duration>) -> Result<Exit, CallError> {
    let verb = Verb::Verify { start: true };
    if to.dry_run {
        return act(to, timeout, verb, "");
    }
    let interrupt = Interrupt::told();
    client::call(to, verb, timeout.or(Some(ANSWER)), |_| {})?;
    let mut waiting = Waiting::new();
    let (began, mut seen) = (Instant::now(), false);
    let found = client::watch(to, timeout, |report| {
        let status = report.engine.as_ref()?.status.as_ref()?;
        match status.verify_done_blocks {
            Some(done) => {
                seen = true;
                waiting.show(&format!(
                    "compared {}, {} blocks differ",
                    bytes(done.saturating_mul(BLOCK_BYTES)),
                    status.verify_mismatches
                ));
                None
            }
            // What stands there from before it began is no result of it; a comparison that was too
            // short to be seen has ended as well.
            None if !seen && began.elapsed() < UNSEEN_MAX => None,
            None => Some(status.verify_mismatches),
        }
    })?;
    drop(waiting);
    drop(interrupt);
    if found == 0 {
        show::result("both copies are equal");
        return Ok(Exit::Ok);
    }
    show::result(&format!("{found} blocks differed and are being repaired; check the disks"));
    Ok(Exit::Degraded)
}
