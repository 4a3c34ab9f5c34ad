//! The file of a keeper (`decide::keeper`): read once, replaced durably before what it holds is
//! reported. Always: commands are carried out one after the other, and nobody waits for the disk
//! but who asked; a file that can't be read or makes no sense is no keeper, since attempts and the
//! floor against a rollback may have been in it. Survives: a disk that refuses or hangs: commands
//! fail or don't report, and a fence holds all the same.

use super::file;
use crate::decide::event::{Event, StepId};
use crate::decide::keeper::{Keeper, Kept};
use crate::decide::step::EngineCommand;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;

/// Commands that may wait for the disk.
const COMMANDS_MAX: usize = 64;
/// The stable word for a file that could not be replaced.
const NOT_STORED: &str = "not-stored";

/// Why there is no keeper.
#[derive(Debug)]
pub struct KeeperError {
    path: PathBuf,
    cause: io::Error,
}

impl fmt::Display for KeeperError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}; the group is not decided on: mend the file, or, while the other node runs the \
             group or nobody does, remove it and restart the daemon",
            self.path.display(),
            self.cause
        )
    }
}

impl std::error::Error for KeeperError {}

/// The task of a keeper waits for its disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeeperBusy;

impl fmt::Display for KeeperBusy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "its disk hangs, {COMMANDS_MAX} commands wait; mend it and restart the daemon")
    }
}

impl std::error::Error for KeeperBusy {}

/// What an earlier life has left in the file; nothing when there is none.
///
/// # Errors
/// It is there and can't be read.
pub fn read(path: &Path) -> Result<Kept, KeeperError> {
    let failed = |cause| KeeperError { path: path.to_owned(), cause };
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|cause| failed(cause.into())),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(Kept::default()),
        Err(cause) => Err(failed(cause)),
    }
}

/// What a keeper's task is to do.
enum Wanted {
    Step(StepId, EngineCommand),
    /// Somebody else listens from here on.
    Listener(mpsc::Sender<Event>),
}

/// The daemon's end of a keeper's task.
pub struct Commands(mpsc::Sender<Wanted>);

impl Commands {
    /// Starts the task on the current runtime; it tells what an engine would: a status at once and
    /// after each command, and the end of each command.
    pub fn start(keeper: Keeper, path: PathBuf) -> (Commands, mpsc::Receiver<Event>) {
        let (wanted, commands) = mpsc::channel(COMMANDS_MAX);
        let (told, heard) = mpsc::channel(COMMANDS_MAX);
        tokio::spawn(run(keeper, path, commands, told));
        (Commands(wanted), heard)
    }

    /// Hands a command over.
    ///
    /// # Errors
    /// Too many wait for the disk.
    pub fn step(&self, id: StepId, command: EngineCommand) -> Result<(), StepId> {
        self.0.try_send(Wanted::Step(id, command)).map_err(|_| id)
    }

    /// Tells whoever reads the result from here on, a status first; what was commanded before this
    /// has ended by then and is told to nobody.
    ///
    /// # Errors
    /// Too many commands wait for the disk.
    pub fn listen(&self) -> Result<mpsc::Receiver<Event>, KeeperBusy> {
        let (told, heard) = mpsc::channel(COMMANDS_MAX);
        self.0.try_send(Wanted::Listener(told)).map_err(|_| KeeperBusy)?;
        Ok(heard)
    }
}

async fn run(
    mut keeper: Keeper,
    path: PathBuf,
    mut commands: mpsc::Receiver<Wanted>,
    mut told: mpsc::Sender<Event>,
) {
    let mut stored = keeper.kept().clone();
    // Nobody may listen for a while; the task ends when nobody can command any more.
    let _ = told.send(Event::Engine(Box::new(keeper.status()))).await;
    while let Some(wanted) = commands.recv().await {
        let (id, command) = match wanted {
            Wanted::Step(id, command) => (id, command),
            Wanted::Listener(next) => {
                told = next;
                let _ = told.send(Event::Engine(Box::new(keeper.status()))).await;
                continue;
            }
        };
        let refused = match keeper.after(&command) {
            Err(word) => Some(word),
            Ok(next) => {
                if command == EngineCommand::Fence {
                    keeper = next.clone();
                }
                let done = *next.kept() == stored || store(&path, next.kept()).await;
                if done {
                    stored = next.kept().clone();
                    keeper = next;
                }
                (!done).then_some(NOT_STORED)
            }
        };
        let done = Event::EngineDone { id, refused: refused.map(str::to_owned) };
        for event in [done, Event::Engine(Box::new(keeper.status()))] {
            let _ = told.send(event).await;
        }
    }
}

async fn store(path: &Path, kept: &Kept) -> bool {
    let (to, kept) = (path.to_owned(), kept.clone());
    let write = move || {
        if let Some(directory) = to.parent() {
            std::fs::create_dir_all(directory)?;
        }
        file::replace_synced(&to, &serde_json::to_vec(&kept)?)
    };
    let ended = tokio::task::spawn_blocking(write).await;
    match ended.unwrap_or_else(|cause| Err(io::Error::other(cause))) {
        Ok(()) => true,
        Err(cause) => {
            tracing::error!(path = %path.display(), %cause, "the keeper's file is not replaced");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_engine::units::{
        BootId, Epoch, Generation, GroupId, Members, NodeId, Nonce, OpenAttempt, Role, StartId,
        Status, Version, VolumeRecord,
    };

    fn record(version: u64) -> VolumeRecord {
        VolumeRecord {
            version: Version(version),
            epoch: Epoch(1),
            members: Members::BOTH,
            primary: Some(NodeId::A),
            generation: Generation(7),
            parent: Generation::NONE,
            nonce: Nonce(u128::from(version)),
            writer: NodeId::A,
            since: 0,
            forced: false,
        }
    }

    fn open(path: &Path) -> Result<Keeper, KeeperError> {
        let life = (BootId(1), StartId(2));
        read(path).map(|kept| Keeper::open(NodeId::A, GroupId(3), life, kept))
    }

    async fn status(heard: &mut mpsc::Receiver<Event>) -> Box<Status> {
        match heard.recv().await {
            Some(Event::Engine(status)) => status,
            other => panic!("no status: {other:?}"),
        }
    }

    #[tokio::test]
    async fn what_is_reported_is_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keepers/3.json");
        let (commands, mut heard) = Commands::start(open(&path).unwrap(), path.clone());
        assert_eq!(status(&mut heard).await.role, Role::Secondary);
        let attempt = OpenAttempt { expected: Version(4), wanted: record(5) };
        for command in [EngineCommand::Attempt(attempt), EngineCommand::Promote(record(4))] {
            commands.step(StepId(1), command).unwrap();
            let done = heard.recv().await;
            assert!(matches!(done, Some(Event::EngineDone { refused: None, .. })), "{done:?}");
            let told = status(&mut heard).await;
            assert_eq!(told.attempts, open(&path).unwrap().status().attempts);
        }
        assert_eq!(open(&path).unwrap().status().role, Role::Primary);
    }

    #[tokio::test]
    async fn another_listener_finds_the_keeper_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keepers/3.json");
        let (commands, mut heard) = Commands::start(open(&path).unwrap(), path.clone());
        status(&mut heard).await;
        commands.step(StepId(1), EngineCommand::Promote(record(4))).unwrap();
        drop(heard);
        let mut heard = commands.listen().unwrap();
        assert_eq!(status(&mut heard).await.role, Role::Primary);
        commands.step(StepId(1), EngineCommand::Demote).unwrap();
        let done = heard.recv().await;
        assert!(matches!(done, Some(Event::EngineDone { refused: None, .. })), "{done:?}");
        drop(commands);
        status(&mut heard).await;
        assert!(heard.recv().await.is_none());
    }

    #[tokio::test]
    async fn a_fence_holds_without_a_disk_and_nothing_else_does() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keepers/3.json");
        let (commands, mut heard) = Commands::start(open(&path).unwrap(), path.clone());
        status(&mut heard).await;
        commands.step(StepId(1), EngineCommand::Promote(record(4))).unwrap();
        heard.recv().await.unwrap();
        assert_eq!(status(&mut heard).await.role, Role::Primary);
        std::fs::create_dir(dir.path().join("keepers/3.json.new")).unwrap();
        for (command, role) in
            [(EngineCommand::Demote, Role::Primary), (EngineCommand::Fence, Role::Secondary)]
        {
            commands.step(StepId(2), command).unwrap();
            let done = heard.recv().await;
            assert!(matches!(done, Some(Event::EngineDone { refused: Some(_), .. })), "{done:?}");
            assert_eq!(status(&mut heard).await.role, role);
        }
    }

    #[test]
    fn a_damaged_file_is_no_keeper() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("3.json");
        std::fs::write(&path, b"{").unwrap();
        let error = open(&path).unwrap_err().to_string();
        assert!(error.contains("3.json"), "{error}");
    }
}
