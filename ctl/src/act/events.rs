//! The cluster's diary: numbered events, kept across restarts of the daemon, read by `events`.
//! Always: the daemon's loop never waits for the disk under it. A thread writes; what it can't
//! write is kept in memory, is counted and is said in the log once. Two files, each for half of the
//! events that are to be kept; the older one is dropped when the newer one is full.
//! Survives: a torn last line, a full or read-only disk, files that somebody edited.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use tokio::sync::watch;

/// Bytes of an event, as a rule: files are cut by size.
const EVENT_BYTES: u64 = 256;
/// Most events that are kept in memory, to be shown without reading files: half a megabyte.
pub const KEPT_MAX: usize = 2_000;
/// Events that may wait for the disk.
const WAITING_MAX: usize = 256;
/// Longest line that is read back: longer ones were not written by this file.
const LINE_BYTES_MAX: usize = 16 << 10;

/// How much an event matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weight {
    /// Something happened as it should.
    Info,
    /// Somebody should look at it in the morning.
    Warning,
    /// Somebody should look at it now.
    Alarm,
}

/// One line of the diary.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Raised by one with each event of this node.
    pub number: u64,
    /// Wall clock, milliseconds since 1970; for people.
    pub at_ms: u64,
    /// How much it matters.
    pub weight: Weight,
    /// Stable word, such as `group-online`.
    pub code: String,
    /// Group, volume, resource or monitor that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// Object, cause and next move, for people.
    pub message: String,
}

/// An open diary.
pub struct Diary {
    shared: Arc<Mutex<Kept>>,
    to_disk: SyncSender<Entry>,
    last: watch::Sender<u64>,
}

/// A reader of a diary, on any thread.
#[derive(Clone)]
pub struct Reader {
    shared: Arc<Mutex<Kept>>,
    last: watch::Receiver<u64>,
}

#[derive(Default)]
struct Kept {
    last: u64,
    entries: VecDeque<Entry>,
    /// Not on disk.
    lost: u64,
    /// Written down since this daemon began, by weight.
    told: [u64; 3],
}

impl Kept {
    fn keep(&mut self, entry: Entry) {
        self.last = self.last.max(entry.number);
        if self.entries.len() == KEPT_MAX {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }
}

impl Diary {
    /// Opens the diary in a directory, which exists, and reads what is there; about `events` are
    /// kept in its files. A directory that can't be read gives an empty diary; the log says why.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn open(directory: &Path, events: u32) -> io::Result<Diary> {
        let mut kept = Kept::default();
        let bytes_max = u64::from(events) * EVENT_BYTES / 2;
        let files = Files { directory: directory.to_path_buf(), bytes_max, open: None };
        for path in [files.older(), files.newer()] {
            match read(&path, bytes_max) {
                Ok(entries) => entries.into_iter().for_each(|entry| kept.keep(entry)),
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
                Err(cause) => {
                    tracing::warn!(path = %path.display(), %cause, "events can't be read");
                }
            }
        }
        let shared = Arc::new(Mutex::new(kept));
        let (to_disk, lines) = sync_channel(WAITING_MAX);
        let theirs = Arc::clone(&shared);
        let name = "events".to_owned();
        thread::Builder::new().name(name).spawn(move || write_all(files, &lines, &theirs))?;
        let last = watch::Sender::new(kept_of(&shared).last);
        Ok(Diary { shared, to_disk, last })
    }

    /// Writes an event down.
    pub fn note(&self, at_ms: u64, weight: Weight, code: &str, object: Option<&str>, text: String) {
        let mut kept = kept_of(&self.shared);
        let entry = Entry {
            number: kept.last + 1,
            at_ms,
            weight,
            code: code.to_owned(),
            object: object.map(str::to_owned),
            message: text,
        };
        kept.keep(entry.clone());
        kept.told[weight as usize] += 1;
        self.last.send_replace(entry.number);
        match self.to_disk.try_send(entry) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => kept.lost += 1,
        }
    }

    /// The events after `number`, oldest first, at most `most` of the newest.
    pub fn after(&self, number: u64, most: usize) -> Vec<Entry> {
        after(&self.shared, number, most)
    }

    /// Events that are in memory only, because the disk did not take them.
    pub fn lost(&self) -> u64 {
        kept_of(&self.shared).lost
    }

    /// Somebody else who reads it.
    pub fn reader(&self) -> Reader {
        Reader { shared: Arc::clone(&self.shared), last: self.last.subscribe() }
    }
}

impl Reader {
    /// As `Diary::after`.
    pub fn after(&self, number: u64, most: usize) -> Vec<Entry> {
        after(&self.shared, number, most)
    }

    /// Events since this daemon began: infos, warnings, alarms.
    pub fn told(&self) -> [u64; 3] {
        kept_of(&self.shared).told
    }

    /// Waits for an event that was not waited for yet; false when the diary is closed.
    pub async fn changed(&mut self) -> bool {
        self.last.changed().await.is_ok()
    }
}

fn kept_of(shared: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    // What a panicking thread left behind is still a list of events.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn after(shared: &Mutex<Kept>, number: u64, most: usize) -> Vec<Entry> {
    let kept = kept_of(shared);
    let wanted = kept.entries.iter().filter(|entry| entry.number > number);
    let skip = wanted.clone().count().saturating_sub(most);
    wanted.skip(skip).cloned().collect()
}

/// The two files and the one that is written to.
struct Files {
    directory: PathBuf,
    /// Of one file before the next is begun.
    bytes_max: u64,
    open: Option<(File, u64)>,
}

impl Files {
    fn newer(&self) -> PathBuf {
        self.directory.join("events.jsonl")
    }

    fn older(&self) -> PathBuf {
        self.directory.join("events.1.jsonl")
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if self.open.as_ref().is_some_and(|(_, bytes)| *bytes >= self.bytes_max) {
            self.open = None;
            fs::rename(self.newer(), self.older())?;
        }
        let (file, bytes) = match &mut self.open {
            Some(open) => open,
            closed => {
                let path = self.directory.join("events.jsonl");
                let file = OpenOptions::new().create(true).append(true).open(path)?;
                let bytes = file.metadata()?.len();
                let open = closed.insert((file, bytes));
                if bytes > 0 {
                    // Ends a line that a crash tore.
                    open.0.write_all(b"\n")?;
                }
                open
            }
        };
        file.write_all(line)?;
        *bytes += line.len() as u64;
        Ok(())
    }
}

fn write_all(mut files: Files, lines: &Receiver<Entry>, shared: &Mutex<Kept>) {
    let mut failing = false;
    while let Ok(entry) = lines.recv() {
        let line = serde_json::to_vec(&entry).map(|mut line| {
            line.push(b'\n');
            line
        });
        match line.map_err(io::Error::from).and_then(|line| files.append(&line)) {
            Ok(()) => failing = false,
            Err(cause) => {
                files.open = None;
                shared.lock().unwrap_or_else(PoisonError::into_inner).lost += 1;
                if !failing {
                    failing = true;
                    let path = files.newer();
                    tracing::warn!(
                        path = %path.display(),
                        %cause,
                        "events can't be written and are kept in memory only; make room"
                    );
                }
            }
        }
    }
}

/// All events of a file; lines that are none are left out.
fn read(path: &Path, bytes_max: u64) -> io::Result<Vec<Entry>> {
    let mut reader = BufReader::new(io::Read::take(File::open(path)?, bytes_max * 2));
    let (mut entries, mut line) = (Vec::new(), Vec::new());
    while reader.read_until(b'\n', &mut line)? > 0 {
        if line.len() <= LINE_BYTES_MAX {
            entries.extend(serde_json::from_slice::<Entry>(&line).ok());
        }
        line.clear();
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    const EVENTS: u32 = 10_000;

    fn note(diary: &Diary, text: &str) {
        diary.note(5, Weight::Info, "test", Some("db"), text.to_owned());
    }

    fn texts(diary: &Diary) -> Vec<String> {
        diary.after(0, KEPT_MAX).into_iter().map(|entry| entry.message).collect()
    }

    /// Waits until the thread has written so many lines.
    fn written(directory: &Path, lines: usize) {
        let until = Instant::now() + Duration::from_secs(10);
        let path = directory.join("events.jsonl");
        while read(&path, 1 << 20).unwrap_or_default().len() < lines {
            assert!(Instant::now() < until, "the events reach the disk");
            thread::sleep(Duration::from_millis(2));
        }
    }

    #[test]
    fn numbers_and_events_go_on_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let diary = Diary::open(directory.path(), EVENTS).unwrap();
        note(&diary, "one");
        note(&diary, "two");
        written(directory.path(), 2);
        drop(diary);
        let diary = Diary::open(directory.path(), EVENTS).unwrap();
        note(&diary, "three");
        assert_eq!(texts(&diary), ["one", "two", "three"]);
        assert_eq!(diary.after(2, 9)[0].number, 3);
        assert_eq!(diary.after(0, 1)[0].message, "three");
    }

    #[test]
    fn a_torn_line_costs_one_event() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.jsonl");
        let diary = Diary::open(directory.path(), EVENTS).unwrap();
        note(&diary, "whole");
        written(directory.path(), 1);
        drop(diary);
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"number\":2,\"at_ms\":5,\"wei").unwrap();
        let diary = Diary::open(directory.path(), EVENTS).unwrap();
        note(&diary, "after");
        written(directory.path(), 2);
        drop(diary);
        assert_eq!(texts(&Diary::open(directory.path(), EVENTS).unwrap()), ["whole", "after"]);
    }

    #[test]
    fn a_disk_that_takes_nothing_loses_nothing_that_is_shown() {
        let directory = tempfile::tempdir().unwrap();
        // A directory in the place of the file can't be appended to.
        fs::create_dir(directory.path().join("events.jsonl")).unwrap();
        let diary = Diary::open(directory.path(), EVENTS).unwrap();
        note(&diary, "kept");
        let until = Instant::now() + Duration::from_secs(10);
        while diary.lost() == 0 {
            assert!(Instant::now() < until, "the failure is counted");
            thread::sleep(Duration::from_millis(2));
        }
        assert_eq!(texts(&diary), ["kept"]);
    }

    #[test]
    fn files_stay_small() {
        let directory = tempfile::tempdir().unwrap();
        let bytes_max = 1 << 20;
        let mut files = Files { directory: directory.path().to_path_buf(), bytes_max, open: None };
        let line = vec![b'x'; 64 << 10];
        for _ in 0..80 {
            files.append(&line).unwrap();
        }
        for path in [files.newer(), files.older()] {
            assert!(fs::metadata(path).unwrap().len() <= bytes_max + line.len() as u64);
        }
    }
}
