//! Runs one program of a resource or monitor in its cage, with a deadline. Always: it ends, one
//! way or the other, before the deadline; a call that is dropped kills what it started. Output goes
//! to a file, never to a pipe: a program that is left behind would die of a pipe whose reader is
//! gone. The file is cut when it grows too long. The child is made without copying this process
//! (`posix_spawn`), which may be locked in memory.

use super::cage::{Cage, MARK};
use super::spec::Command;
use super::{Context, Failure};
use crate::act::{clock, work};
use lockstep_engine::units::{Span, Tick};
use rustix::process::Signal;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use tokio::process::Child;
use tokio::time::MissedTickBehavior;

/// Most that the output file of a program holds; what is over is cut away from time to time.
const OUTPUT_BYTES_MAX: u64 = 1 << 20;
/// Most of the output that goes into a message.
const TAIL_BYTES_MAX: u64 = 2 << 10;
/// How often the size of the output is looked at.
const LOOK: Span = Span::millis(100);
/// Longest time between SIGTERM and the deadline.
const GRACE_MAX: Span = Span::millis(3_000);
/// Words to the service manager about the daemon itself: none of a program's business.
const PRIVATE: &[&str] =
    &["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS"];

/// Enters the cage, takes an ordinary place in front of the memory killer, becomes the program.
const ENTER: &str = "if [ -n \"$1\" ]; then echo 0 >\"$1\" || \
                     { echo its control group can not be entered; exit 125; }; fi; shift; \
                     { echo 0 >/proc/self/oom_score_adj; } 2>/dev/null; exec \"$@\"";

/// How a program ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// `None`: it had to be killed at the deadline.
    pub status: Option<ExitStatus>,
    /// End of what it wrote, in one line.
    pub output: String,
    /// End of what it wrote, as it is.
    pub text: String,
    /// Something of it is still there although it was killed.
    pub stuck: bool,
}

impl Outcome {
    /// Exit status 0.
    pub fn good(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }

    /// How it ended, with its last words.
    pub fn words(&self) -> String {
        let how = match self.status {
            Some(status) => status.to_string(),
            None if self.stuck => {
                "it did not end in time, and SIGKILL does not end it (it waits in the kernel)"
                    .to_owned()
            }
            None => "it did not end in time and was killed".to_owned(),
        };
        if self.output.is_empty() { how } else { format!("{how}: {}", self.output) }
    }
}

/// What happens to processes that the program leaves behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rest {
    /// They live on when it ended with status 0: it started a service.
    LivesOn,
    /// They are killed.
    Dies,
}

/// Kills the cage unless the run got to its end.
struct Watch<'a> {
    cage: &'a Cage,
    armed: bool,
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.cage.kill();
        }
    }
}

/// Runs `command` as `verb` of the resource.
///
/// # Errors
/// It can't be run at all.
pub async fn run(
    command: &Command,
    verb: &str,
    rest: Rest,
    context: &Context,
    deadline: Tick,
) -> Result<Outcome, Failure> {
    let doing = format!("{verb} {}", command.program.display());
    let cage = Cage::of(context).part(verb);
    // It may be on the very disk that waits for a decision of this daemon: the loop must not wait
    // for that disk, and stuck looks must not pile up.
    let (program, key) = (command.program.clone(), format!("look at {}", cage.mark()));
    work::run_alone("program", &key, deadline, move || usable(&program))
        .await
        .unwrap_or_else(|late| Err((late.to_string(), "does its disk answer?".to_owned())))
        .map_err(|(cause, hint)| context.failure(&doing, cause, hint))?;
    // A monitor and an order may look at the same time; neither may end the other's program.
    let _alone = work::claim(cage.mark(), deadline)
        .await
        .map_err(|cause| context.failure(&doing, cause, "give it more time, or ask less often"))?;
    let path = context.note(&format!("{verb}.out"));
    let output = open_output(&path).map_err(|cause| {
        let hint = format!("check the space and the rights of {}", path.display());
        context.failure(&doing, format!("its output has no place: {cause}"), hint)
    })?;
    let mut watch = Watch { cage: &cage, armed: true };
    let child = spawn(command, verb, context, &cage, &output);
    let mut child = child.map_err(|cause| {
        let hint = "check memory and the limit of processes on this host";
        context.failure(&doing, format!("it can't be started: {cause}"), hint)
    })?;
    let status = wait(&mut child, &cage, &output, deadline).await;
    let keeps = rest == Rest::LivesOn && status.is_some_and(|status| status.success());
    let stuck = !keeps && !cage.clear(deadline).await;
    watch.armed = stuck;
    if !keeps && !stuck {
        cage.remove();
    }
    let text = tail(&output);
    Ok(Outcome { status, output: one_line(&text), text, stuck })
}

/// Why a program can't be run, and what to do.
fn usable(program: &Path) -> Result<(), (String, String)> {
    let shown = program.display();
    if !program.is_absolute() {
        let cause = format!("{shown} is no absolute path");
        return Err((cause, "write the whole path of the program".to_owned()));
    }
    let hint = format!("check the path {shown} and its rights on this node");
    match std::fs::metadata(program) {
        Err(cause) => Err((format!("{shown}: {cause}"), hint)),
        Ok(found) if !found.is_file() => Err((format!("{shown} is no file"), hint)),
        Ok(found) if found.permissions().mode() & 0o111 == 0 => {
            Err((format!("{shown} is not executable"), hint))
        }
        Ok(_) => Ok(()),
    }
}

fn open_output(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let file = OpenOptions::new().create(true).append(true).read(true).open(path)?;
    // What an earlier run left behind goes on writing at the new end.
    file.set_len(0)?;
    Ok(file)
}

fn spawn(
    command: &Command,
    verb: &str,
    context: &Context,
    cage: &Cage,
    output: &File,
) -> io::Result<Child> {
    let door = cage.make().unwrap_or_default();
    let mut child = tokio::process::Command::new("/bin/sh");
    child.args(["-c", ENTER, "lockstep"]).arg(door).arg(&command.program).args(&command.args);
    for name in PRIVATE {
        child.env_remove(name);
    }
    child
        .env("LOCKSTEP_GROUP", &context.group)
        .env("LOCKSTEP_RESOURCE", &context.resource)
        .env("LOCKSTEP_NODE", &context.node)
        .env("LOCKSTEP_EVENT", &context.event)
        .env("LOCKSTEP_VERB", verb)
        .env(MARK, cage.mark())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output.try_clone()?)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

/// Waits for the end; asks the program to end shortly before the deadline.
async fn wait(child: &mut Child, cage: &Cage, output: &File, deadline: Tick) -> Option<ExitStatus> {
    let now = clock::now();
    let grace = Span(deadline.since(now).0 / 4).min(GRACE_MAX);
    let total = deadline.since(now).0;
    let ask = now.after(Span(total.saturating_sub(grace.0)));
    if let Some(status) = wait_until(child, output, ask).await {
        return Some(status);
    }
    cage.signal(Signal::TERM);
    let kill = now.after(Span(total.saturating_sub(grace.0 / 2)));
    // A program that ends because it was asked to has still not done its work in time.
    if wait_until(child, output, kill).await.is_none() {
        cage.kill();
        wait_until(child, output, deadline).await;
    }
    None
}

async fn wait_until(child: &mut Child, output: &File, until: Tick) -> Option<ExitStatus> {
    let mut look = tokio::time::interval(clock::until(clock::now().after(LOOK)));
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let end = tokio::time::sleep(clock::until(until));
    tokio::pin!(end);
    loop {
        tokio::select! {
            status = child.wait() => match status {
                Ok(status) => return Some(status),
                Err(cause) => {
                    tracing::warn!(%cause, "a program can't be waited for");
                    return None;
                }
            },
            () = &mut end => return None,
            _ = look.tick() => trim(output),
        }
    }
}

/// Keeps the output within its bound.
fn trim(output: &File) {
    let length = output.metadata().map_or(0, |found| found.len());
    if length > OUTPUT_BYTES_MAX
        && let Err(cause) = output.set_len(0)
    {
        tracing::warn!(%cause, length, "output of a program can't be cut");
    }
}

/// Keeps what the programs left behind by `verb` write within its bound; call it now and then.
pub fn trim_left_behind(context: &Context, verb: &str) {
    match OpenOptions::new().append(true).open(context.note(&format!("{verb}.out"))) {
        Ok(file) => trim(&file),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
        Err(cause) => tracing::warn!(%cause, "output of a program can't be looked at"),
    }
}

fn tail(output: &File) -> String {
    let length = output.metadata().map_or(0, |found| found.len());
    let from = length.saturating_sub(TAIL_BYTES_MAX);
    let wanted = usize::try_from(length - from).unwrap_or(0);
    let mut bytes = vec![0; wanted];
    match output.read_at(&mut bytes, from) {
        Ok(read) => bytes.truncate(read),
        Err(cause) => return format!("(its output can't be read: {cause})"),
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The last lines as one, without what a terminal would obey.
fn one_line(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(4)..];
    last.join(" / ").chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_look_at_a_program_that_is_stuck_ends_at_the_deadline() {
        let dir = tempfile::tempdir().unwrap();
        let context = Context {
            node: "a".to_owned(),
            group: "g".to_owned(),
            resource: "stuck".to_owned(),
            event: "start".to_owned(),
            runtime_dir: dir.path().to_owned(),
            state_dir: dir.path().to_owned(),
        };
        let command = Command { program: "/bin/true".into(), args: Vec::new() };
        let soon = |ms| clock::now().after(Span::millis(ms));
        let cage = Cage::of(&context).part("start");
        let key = format!("look at {}", cage.mark());
        let stuck = work::claim(&key, soon(0)).await.unwrap();
        let late = run(&command, "start", Rest::Dies, &context, soon(50)).await.unwrap_err();
        assert!(late.hint.contains("does its disk answer"), "{late}");
        drop(stuck);
        assert!(run(&command, "start", Rest::Dies, &context, soon(10_000)).await.unwrap().good());
    }
}
