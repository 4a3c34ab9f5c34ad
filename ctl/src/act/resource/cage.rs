//! Where the programs of a resource live, so that everything that they leave behind can be killed
//! at once: a control group of its own. Always: what is started in a cage stays in it, whatever it
//! forks, and a daemon that starts again finds the same cage. On a host where control groups can't
//! be made, the programs carry a mark in their environment and are found by it, by their process
//! group and by their ancestors; a program that erases all three escapes, which is logged.

use super::{Context, file_name};
use crate::act::{clock, work};
use lockstep_engine::units::{Span, Tick};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// Folder of all cages below the top of the control groups. Not below the daemon's own group:
/// the service manager would kill what is there when the daemon stops.
const TOP: &str = "lockstep";
/// Variable that marks programs where there are no control groups.
pub const MARK: &str = "LOCKSTEP_CAGE";
/// Attempts to make a group while others remove its empty parents.
const MAKINGS: u32 = 5;
/// Looks for marked programs are at least this far apart, but for one that follows the end of all
/// that were found: each reads a file or two of every process on this host.
const LOOK: Span = Span::millis(100);

/// Time between two rounds of kills.
const ROUND: Duration = Duration::from_millis(10);

/// One verb of a resource, or the whole resource.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cage {
    /// Folder in the control group file system.
    group: Option<PathBuf>,
    /// Value of the mark; marks of verbs begin with that of their resource.
    mark: String,
}

impl Cage {
    /// The cage of everything that `context` started.
    pub fn of(context: &Context) -> Cage {
        let digest = Sha256::digest(context.runtime_dir.as_os_str().as_bytes());
        let daemon: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        let path = [
            format!("{}-{daemon}", file_name(&context.node)),
            file_name(&context.group),
            file_name(&context.resource),
        ]
        .join("/");
        let group = unified().map(|top| top.join(TOP).join(&path));
        Cage { group, mark: format!("{path}/") }
    }

    /// The part of it for one verb.
    pub fn part(&self, verb: &str) -> Cage {
        let group = self.group.as_ref().map(|group| group.join(verb));
        Cage { group, mark: format!("{}{verb}/", self.mark) }
    }

    /// Makes it. Returns the file through which a process enters, when there is one.
    pub fn make(&self) -> Option<PathBuf> {
        let group = self.group.as_ref()?;
        let mut made = fs::create_dir_all(group);
        // Folders above may be removed at the same time by somebody who found them empty.
        for _ in 0..MAKINGS {
            if made.as_ref().is_err_and(|cause| cause.kind() == io::ErrorKind::NotFound) {
                made = fs::create_dir_all(group);
            }
        }
        match made {
            Ok(()) => Some(group.join("cgroup.procs")),
            Err(cause) => {
                tracing::warn!(
                    group = %group.display(), %cause,
                    "no control group: programs are followed by a mark in their environment"
                );
                None
            }
        }
    }

    /// Its control group, whether it is there or not; `None` on a host without.
    pub fn group(&self) -> Option<&Path> {
        self.group.as_deref()
    }

    /// Value of the mark that its programs must carry.
    pub fn mark(&self) -> &str {
        &self.mark
    }

    fn existing(&self) -> Option<&Path> {
        self.group.as_deref().filter(|group| group.exists())
    }

    /// Processes in it.
    pub fn members(&self) -> Vec<u32> {
        let mut found = Vec::new();
        match self.existing() {
            Some(group) => collect(group, &mut found),
            None => found.extend(marked(&self.mark)),
        }
        found
    }

    /// Sends SIGKILL to everything in it. Returns at once.
    pub fn kill(&self) {
        if let Some(group) = self.existing() {
            match fs::write(group.join("cgroup.kill"), "1") {
                Ok(()) => return,
                // A kernel before 5.14, or the group has just gone.
                Err(cause) => tracing::debug!(%cause, "no cgroup.kill; one by one"),
            }
        }
        self.signal(Signal::KILL);
    }

    /// Sends `signal` to each process in it.
    pub fn signal(&self, signal: Signal) {
        for pid in self.members() {
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                send(pid, signal);
            }
        }
    }

    /// Kills until nothing is left in it. `false` at the deadline.
    pub async fn clear(&self, deadline: Tick) -> bool {
        if self.existing().is_none() {
            return self.follow(Some(Signal::KILL), deadline).await;
        }
        loop {
            let cage = self.clone();
            if work::run("kill", deadline, move || cage.kill()).await.is_err() {
                return false;
            }
            // What was forked while processes were killed one by one needs another round.
            let round = clock::now().after(LOOK);
            if self.emptied(round.min(deadline)).await {
                return true;
            }
            if clock::now() >= deadline {
                return false;
            }
        }
    }

    /// Waits until nothing is in it. `false` at the deadline.
    pub async fn emptied(&self, deadline: Tick) -> bool {
        let Some(group) = self.existing() else {
            return self.follow(None, deadline).await;
        };
        let events = group.join("cgroup.events");
        match work::run("kill", deadline, move || wait_empty(&events, deadline)).await {
            Ok(Ok(empty)) => empty,
            // The group has gone, which it can only when it is empty.
            Ok(Err(cause)) => {
                tracing::debug!(%cause, "control group");
                self.members().is_empty()
            }
            Err(cause) => {
                tracing::debug!(%cause, "control group");
                false
            }
        }
    }

    /// Looks for marked programs, sends them `signal`, waits for their end, and looks again, until
    /// there are none. `false` at the deadline.
    async fn follow(&self, signal: Option<Signal>, deadline: Tick) -> bool {
        let mut quick = true;
        loop {
            let (mark, began) = (self.mark.clone(), clock::now());
            // What forks before its signal comes is found by the next look.
            let until = match signal {
                Some(_) => began.after(LOOK).min(deadline),
                None => deadline,
            };
            let look = move || watch_marked(&mark, signal, until);
            match work::run("follow", deadline, look).await {
                Ok(Watched::None) => return true,
                Ok(Watched::Ended) if std::mem::replace(&mut quick, false) => continue,
                Ok(Watched::Ended | Watched::Late) => {}
                Err(cause) => {
                    tracing::debug!(%cause, "marked programs");
                    return false;
                }
            }
            if clock::now() >= deadline {
                return false;
            }
            tokio::time::sleep(clock::until(began.after(LOOK).min(deadline))).await;
        }
    }

    /// Kills until nothing is left in it and its folders are gone. Blocking; `false` at the
    /// deadline.
    pub fn end(&self, deadline: Tick) -> bool {
        loop {
            self.kill();
            // What was killed takes a moment to go; what it forked before needs another round.
            if self.members().is_empty() {
                self.remove();
                return true;
            }
            if clock::now() >= deadline {
                return false;
            }
            thread::park_timeout(ROUND);
        }
    }

    /// Removes the empty folders.
    pub fn remove(&self) {
        if let Some(group) = self.existing() {
            prune(group);
        }
    }
}

/// Sends SIGKILL to everything in the control group at `path` from the top.
///
/// # Errors
/// It has gone, or this host has no control groups of the second version.
pub fn kill_group(path: &str) -> io::Result<()> {
    let top = unified().ok_or(io::ErrorKind::NotFound)?;
    fs::write(top.join(path.trim().trim_start_matches('/')).join("cgroup.kill"), "1")
}

/// Where control groups of the second version are mounted.
fn unified() -> Option<PathBuf> {
    let mounts = super::mounts::read().ok()?;
    mounts.into_iter().find(|mount| mount.kind == "cgroup2").map(|mount| mount.at)
}

fn collect(group: &Path, found: &mut Vec<u32>) {
    if let Ok(text) = fs::read_to_string(group.join("cgroup.procs")) {
        found.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
    }
    for below in folders(group) {
        collect(&below, found);
    }
}

fn prune(group: &Path) {
    for below in folders(group) {
        prune(&below);
    }
    if let Err(cause) = fs::remove_dir(group) {
        tracing::debug!(group = %group.display(), %cause, "control group stays");
    }
}

fn folders(group: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(group) else { return Vec::new() };
    let entries = entries.filter_map(Result::ok);
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.map(|entry| entry.path()).collect()
}

/// Waits until the group and those below it are empty: the kernel tells of each change.
fn wait_empty(events: &Path, deadline: Tick) -> io::Result<bool> {
    let file = File::open(events)?;
    loop {
        let mut bytes = [0; 256];
        let length = file.read_at(&mut bytes, 0)?;
        let text = String::from_utf8_lossy(&bytes[..length]);
        if text.lines().any(|line| line == "populated 0") {
            return Ok(true);
        }
        let left = clock::until(deadline);
        if left.is_zero() {
            return Ok(false);
        }
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        let mut changes = [PollFd::new(&file, PollFlags::PRI)];
        match poll(&mut changes, Some(&left)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(cause) => return Err(cause.into()),
        }
    }
}

/// What came of one look for marked programs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Watched {
    /// There are none.
    None,
    /// There were some, and all of them have ended.
    Ended,
    /// Some may not have ended in time.
    Late,
}

/// Looks once, signals what is found, and lets the kernel tell of the end of each.
fn watch_marked(mark: &str, signal: Option<Signal>, until: Tick) -> Watched {
    let found = marked(mark);
    if found.is_empty() {
        return Watched::None;
    }
    let pids = found.into_iter().filter_map(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    let mut handles = Vec::new();
    let mut late = false;
    for pid in pids {
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(handle) => handles.push((pid, handle)),
            Err(Errno::SRCH) => {}
            // No handle to spare: the next look tells.
            Err(cause) => {
                tracing::debug!(?pid, %cause, "no handle of a process");
                late = true;
                if let Some(signal) = signal {
                    send(pid, signal);
                }
            }
        }
    }
    for (pid, handle) in &handles {
        if let Some(signal) = signal
            && let Err(cause) = pidfd_send_signal(handle, signal)
        {
            tracing::debug!(?pid, ?signal, %cause, "it ended by itself");
        }
    }
    for (_, handle) in &handles {
        late |= !has_ended(handle, until);
    }
    if late { Watched::Late } else { Watched::Ended }
}

/// Waits for the end of a process.
fn has_ended(handle: &OwnedFd, until: Tick) -> bool {
    loop {
        let Ok(left) = Timespec::try_from(clock::until(until)) else { return false };
        let mut ends = [PollFd::new(handle, PollFlags::IN)];
        match poll(&mut ends, Some(&left)) {
            Ok(ended) => return ended > 0,
            Err(Errno::INTR) => {}
            Err(cause) => {
                tracing::debug!(%cause, "the end of a process");
                return false;
            }
        }
    }
}

fn send(pid: Pid, signal: Signal) {
    if let Err(cause) = kill_process(pid, signal) {
        tracing::debug!(?pid, ?signal, %cause, "it ended by itself");
    }
}

/// A process as far as kinship goes.
struct Process {
    pid: u32,
    parent: u32,
    group: u32,
    marked: bool,
}

#[cfg(test)]
thread_local! {
    /// Looks at all processes of this host.
    static LOOKS: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

/// Processes with a mark that begins with `mark`, those of their process groups, and their
/// descendants.
fn marked(mark: &str) -> BTreeSet<u32> {
    #[cfg(test)]
    LOOKS.with(|looks| looks.set(looks.get() + 1));
    let processes: Vec<Process> = pids().filter_map(|pid| process(pid, mark)).collect();
    let own = std::process::id();
    let mut found: BTreeSet<u32> =
        processes.iter().filter(|one| one.marked).map(|one| one.pid).collect();
    loop {
        let groups: BTreeSet<u32> = processes
            .iter()
            .filter(|one| found.contains(&one.pid) && found.contains(&one.group))
            .map(|one| one.group)
            .collect();
        let kin: Vec<u32> = processes
            .iter()
            .filter(|one| one.pid != own && one.pid != 1 && !found.contains(&one.pid))
            .filter(|one| found.contains(&one.parent) || groups.contains(&one.group))
            .map(|one| one.pid)
            .collect();
        if kin.is_empty() {
            found.remove(&own);
            return found;
        }
        found.extend(kin);
    }
}

/// Process ids that are there.
pub fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn process(pid: u32, mark: &str) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    if matches!(fields.next(), Some("Z" | "X")) {
        return None;
    }
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let wanted = format!("{MARK}={mark}");
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let marked = environment.split(|b| *b == 0).any(|one| one.starts_with(wanted.as_bytes()));
    Some(Process { pid, parent, group, marked })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    fn cage(name: &str, group: Option<PathBuf>) -> Cage {
        Cage { group, mark: format!("test-{}-{name}/", std::process::id()) }
    }

    #[tokio::test]
    async fn without_control_groups_marked_programs_and_their_kin_are_killed() {
        let cage = cage("kin", None);
        // The inner shell loses the mark, but neither its parent nor its process group.
        let script = format!("env -u {MARK} sh -c 'sleep 60 & sleep 60' & sleep 60");
        let mut child = Command::new("/bin/sh")
            .args(["-c", &script])
            .env(MARK, cage.part("run").mark())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        while cage.members().len() < 4 {
            tokio::time::sleep(clock::until(clock::now().after(LOOK))).await;
        }
        let reaper = std::thread::spawn(move || child.wait());
        assert!(cage.clear(clock::now().after(Span::millis(10_000))).await);
        assert!(cage.members().is_empty());
        assert!(!reaper.join().unwrap().unwrap().success());
    }

    #[test]
    fn the_end_of_marked_programs_is_told_by_the_kernel_and_not_looked_for() {
        let cage = cage("told", None);
        let mut child = Command::new("/bin/sleep")
            .arg("0.4")
            .env(MARK, cage.part("run").mark())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let before = LOOKS.with(std::cell::Cell::get);
        let until = clock::now().after(Span::millis(10_000));
        assert_eq!(watch_marked(cage.mark(), None, until), Watched::Ended);
        assert_eq!(LOOKS.with(std::cell::Cell::get) - before, 1);
        assert!(child.wait().unwrap().success());
        assert_eq!(watch_marked(cage.mark(), None, until), Watched::None);
        let mut child = Command::new("/bin/sleep")
            .arg("60")
            .env(MARK, cage.part("run").mark())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        assert_eq!(watch_marked(cage.mark(), Some(Signal::KILL), until), Watched::Ended);
        assert!(!child.wait().unwrap().success());
    }

    #[test]
    fn a_cage_of_another_daemon_is_another_one() {
        let mut context = Context {
            node: "a".to_owned(),
            group: "g".to_owned(),
            resource: "r".to_owned(),
            event: String::new(),
            runtime_dir: "/run/one".into(),
            state_dir: "/var/one".into(),
        };
        let one = Cage::of(&context);
        assert_eq!(one, Cage::of(&context));
        context.runtime_dir = "/run/two".into();
        assert_ne!(one, Cage::of(&context));
        assert!(one.part("stop").mark().starts_with(one.mark()));
    }
}
