//! The configuration file of this node as something with a history: which version of the cluster's
//! file lies here, what was prepared beside it, what the daemon runs. Blocking; one at a time.
//!
//! ```text
//! FILE                          what both nodes are to run
//! FILE.prepared                 the next one, whole and durable
//! STATE/config/prepared.json    what it is
//! STATE/config/record.json      version and digest of FILE, and of those before it
//! STATE/config/running.json     what the daemon has taken over on this boot
//! ```
//!
//! Always: the rename of the prepared file is the moment at which this node has the new one; what
//! was only prepared is dropped when the daemon starts. A file that somebody edited is seen to be
//! no version, and is never replaced unasked. Survives: a crash between any two steps.

pub mod compare;
#[cfg(test)]
mod tests;

use super::{file, host};
use lockstep_engine::units::BootId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Versions that a record remembers: a node that was away for more is not helped by itself.
pub const HISTORY_MAX: usize = 64;

/// Digest of a file, byte for byte.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Digest(pub u128);

impl Digest {
    /// Of a text.
    pub fn of(text: &str) -> Digest {
        Digest(host::digest(text.as_bytes()))
    }

    /// Its beginning: enough for people.
    pub fn short(self) -> String {
        format!("{self}")[..8].to_owned()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

impl TryFrom<String> for Digest {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Digest, Self::Error> {
        u128::from_str_radix(&text, 16).map(Digest)
    }
}

/// A version of the cluster's file, with those before it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Raised by one with each file that is applied.
    pub version: u64,
    /// Of the file.
    pub digest: Digest,
    /// Versions before, with their digests, oldest first; at most `HISTORY_MAX`.
    pub history: Vec<(u64, Digest)>,
}

impl Record {
    /// The next version, with another file.
    pub fn next(&self, digest: Digest) -> Record {
        let mut history = self.history.clone();
        history.push((self.version, self.digest));
        let surplus = history.len().saturating_sub(HISTORY_MAX);
        history.drain(..surplus);
        Record { version: self.version + 1, digest, history }
    }

    /// Whether the other one is a version before this one.
    pub fn comes_after(&self, other: &Record) -> bool {
        self.version > other.version && self.history.contains(&(other.version, other.digest))
    }
}

/// What lies on a node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Standing {
    /// The version that was applied last.
    pub record: Record,
    /// Of the file as it is: another one when somebody edited it.
    pub file: Digest,
    /// Of what the daemon runs.
    pub running: Digest,
}

impl Standing {
    /// Whether the file is not the version that was applied last.
    pub fn is_edited(&self) -> bool {
        self.file != self.record.digest
    }
}

/// Why the files can't be worked with.
#[derive(Debug)]
pub enum InstallError {
    /// Reading or writing failed.
    Io { path: PathBuf, cause: io::Error },
    /// What is commanded was not prepared here.
    NotPrepared { digest: Digest },
    /// The prepared file is not what it was.
    Damaged { path: PathBuf },
}

impl fmt::Display for InstallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InstallError::Io { path, cause } => {
                write!(f, "{}: {cause}; make room, check the rights, apply again", path.display())
            }
            InstallError::NotPrepared { digest } => {
                write!(f, "the file {} was not prepared here; apply again", digest.short())
            }
            InstallError::Damaged { path } => {
                write!(f, "{}: somebody else has changed it; apply again", path.display())
            }
        }
    }
}

impl std::error::Error for InstallError {}

/// What was prepared.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Prepared {
    /// What this node has once it is committed.
    next: Record,
    /// The file that it replaces.
    parent: Digest,
}

/// What the daemon runs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Running {
    boot: BootId,
    text: String,
}

/// Moments between two steps, for tests.
type Between<'a> = &'a dyn Fn(&str) -> io::Result<()>;

/// What a starting daemon finds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// The version that was applied last.
    pub record: Record,
    /// What the daemon is to run first.
    pub run: String,
    /// The file, when it is another one: it was applied and not taken over yet.
    pub next: Option<String>,
}

/// The files of one node.
#[derive(Clone, Debug)]
pub struct Installed {
    file: PathBuf,
    dir: PathBuf,
}

impl Installed {
    /// The file, with what belongs to it in a directory that survives a boot.
    pub fn new(file: &Path, state_dir: &Path) -> Installed {
        // A rename must replace the file, not a link to it.
        let file = fs::canonicalize(file).unwrap_or_else(|_| file.to_path_buf());
        Installed { file, dir: state_dir.join("config") }
    }

    /// The file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn beside(&self) -> PathBuf {
        let mut name = self.file.as_os_str().to_owned();
        name.push(".prepared");
        PathBuf::from(name)
    }

    /// Ends what a crash has left, and says what to run. A file without a record is version 0.
    ///
    /// # Errors
    /// The files can't be read or written.
    pub fn open(&self, boot: BootId) -> Result<Found, InstallError> {
        fs::create_dir_all(&self.dir).map_err(of(&self.dir))?;
        let text = self.text()?;
        let digest = Digest::of(&text);
        if let Some(prepared) = self.read::<Prepared>("prepared.json")? {
            let after = match self.read::<Record>("record.json")? {
                Some(record) => record.digest != digest,
                None => true,
            };
            // The rename happened: the rest follows. Otherwise it never did.
            if prepared.next.digest == digest && after {
                self.write("record.json", &prepared.next)?;
            }
        }
        self.discard()?;
        let record = match self.read::<Record>("record.json")? {
            Some(record) => record,
            None => {
                let record = Record { version: 0, digest, history: Vec::new() };
                self.write("record.json", &record)?;
                record
            }
        };
        let running = self.read::<Running>("running.json")?;
        let before = running.filter(|ran| ran.boot == boot && ran.text != text);
        Ok(match before {
            // A file that somebody edited is run as it is, as he has started the daemon with it.
            Some(ran) if record.digest == digest => {
                Found { record, run: ran.text, next: Some(text) }
            }
            _ => Found { record, run: text, next: None },
        })
    }

    /// The file's text.
    ///
    /// # Errors
    /// It can't be read.
    pub fn text(&self) -> Result<String, InstallError> {
        fs::read_to_string(&self.file).map_err(of(&self.file))
    }

    /// Writes down what the daemon has taken over: nothing of another text runs any more.
    ///
    /// # Errors
    /// Not durable: a restarted daemon may run the former text first.
    pub fn took_over(&self, text: &str, boot: BootId) -> Result<(), InstallError> {
        self.write("running.json", &Running { boot, text: text.to_owned() })
    }

    /// Puts a file beside the present one, which stays what it is.
    ///
    /// # Errors
    /// It is not there, or not durable.
    pub fn prepare(&self, text: &str, next: &Record, parent: Digest) -> Result<(), InstallError> {
        self.prepare_by(text, next, parent, &|_| Ok(()))
    }

    fn prepare_by(
        &self,
        text: &str,
        next: &Record,
        parent: Digest,
        between: Between<'_>,
    ) -> Result<(), InstallError> {
        self.discard()?;
        between("prepare: begun").map_err(of(&self.dir))?;
        let beside = self.beside();
        file::write_synced(&beside, text.as_bytes()).map_err(of(&beside))?;
        let mode = fs::metadata(&self.file).map_err(of(&self.file))?.permissions();
        fs::set_permissions(&beside, mode).map_err(of(&beside))?;
        between("prepare: file").map_err(of(&self.dir))?;
        self.write("prepared.json", &Prepared { next: next.clone(), parent })?;
        between("prepare: done").map_err(of(&self.dir))
    }

    /// Makes the prepared file the present one. Again, it says that it is.
    ///
    /// # Errors
    /// It was not prepared, the present file is another one by now, or writing failed.
    pub fn commit(&self, next: &Record) -> Result<(), InstallError> {
        self.commit_by(next, &|_| Ok(()))
    }

    fn commit_by(&self, next: &Record, between: Between<'_>) -> Result<(), InstallError> {
        if self.read::<Record>("record.json")?.as_ref() == Some(next) {
            return self.discard();
        }
        let prepared = self.read::<Prepared>("prepared.json")?;
        let not = || InstallError::NotPrepared { digest: next.digest };
        let prepared = prepared.filter(|prepared| prepared.next == *next).ok_or_else(not)?;
        let beside = self.beside();
        let damaged = |path: &Path| InstallError::Damaged { path: path.to_path_buf() };
        let present = Digest::of(&self.text()?);
        let text = fs::read_to_string(&beside).map_err(of(&beside))?;
        if Digest::of(&text) != next.digest {
            return Err(damaged(&beside));
        }
        if present != prepared.parent && present != next.digest {
            return Err(damaged(&self.file));
        }
        between("commit: checked").map_err(of(&self.dir))?;
        fs::rename(&beside, &self.file).map_err(of(&self.file))?;
        between("commit: renamed").map_err(of(&self.dir))?;
        if let Some(dir) = self.file.parent() {
            file::sync_dir(dir).map_err(of(dir))?;
        }
        self.write("record.json", next)?;
        between("commit: recorded").map_err(of(&self.dir))?;
        self.discard()
    }

    /// The same file is that version.
    ///
    /// # Errors
    /// Not durable.
    pub fn adopt(&self, record: &Record) -> Result<(), InstallError> {
        self.write("record.json", record)
    }

    /// Forgets what was prepared.
    ///
    /// # Errors
    /// It can't be removed.
    pub fn discard(&self) -> Result<(), InstallError> {
        for path in [self.at("prepared.json"), self.beside()] {
            match fs::remove_file(&path) {
                Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                    return Err(InstallError::Io { path, cause });
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, InstallError> {
        let path = self.at(name);
        match fs::read(&path) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(value) => Ok(Some(value)),
                Err(cause) => Err(InstallError::Io { path, cause: cause.into() }),
            },
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(InstallError::Io { path, cause }),
        }
    }

    fn write(&self, name: &str, value: &impl Serialize) -> Result<(), InstallError> {
        let path = self.at(name);
        let bytes = serde_json::to_vec(value).map_err(|cause| of(&path)(cause.into()))?;
        file::replace_synced(&path, &bytes).map_err(of(&path))
    }
}

fn of(path: &Path) -> impl Fn(io::Error) -> InstallError {
    let path = path.to_path_buf();
    move |cause| InstallError::Io { path: path.clone(), cause }
}
