//! The in-sync mark (SAFETY R42) outside the engine: in a file that an engine restart survives and
//! a boot does not. Always: a mark is given back only on the boot in which it was given; a file
//! that can't be read, or is of another boot, is no mark.

use super::file;
use lockstep_engine::units::{BootId, InSyncMark, StartId};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::PathBuf;

/// The file's content.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// Boot of this host when it was written.
    boot: BootId,
    /// The engine that handed it over.
    start: StartId,
    mark: InSyncMark,
}

/// Keeper of one volume's mark.
#[derive(Debug)]
pub struct MarkKeeper {
    path: PathBuf,
    boot: BootId,
    kept: Option<Kept>,
}

impl MarkKeeper {
    /// Takes up what an earlier daemon of this boot kept at `path`.
    pub fn open(path: PathBuf, boot: BootId) -> MarkKeeper {
        let kept = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice::<Kept>(&bytes)
                .ok()
                .filter(|kept| kept.boot == boot && kept.mark.boot == boot),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => None,
            Err(cause) => {
                tracing::warn!(path = %path.display(), %cause, "mark can't be read: no mark");
                None
            }
        };
        MarkKeeper { path, boot, kept }
    }

    /// Keeps what the engine `start` handed over, or forgets.
    pub fn keep(&mut self, start: StartId, mark: Option<InSyncMark>) {
        let kept = mark.filter(|mark| mark.boot == self.boot).map(|mark| Kept {
            boot: self.boot,
            start,
            mark,
        });
        if kept == self.kept {
            return;
        }
        self.kept = kept;
        let stored = match &self.kept {
            // Not synced: after a crash of the host nobody may have it.
            Some(kept) => file::replace_json(&self.path, kept),
            None => match fs::remove_file(&self.path) {
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
                other => other,
            },
        };
        if let Err(cause) = stored {
            tracing::warn!(path = %self.path.display(), %cause, "mark can't be kept in its file");
        }
    }

    /// What the engine `start` should be given back: a mark that an earlier engine of this boot
    /// handed over. An engine that handed it over and has it no more has dropped it on purpose.
    pub fn for_engine(&self, start: StartId) -> Option<InSyncMark> {
        self.kept.filter(|kept| kept.start != start).map(|kept| kept.mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_engine::units::Generation;

    fn mark(boot: u128) -> InSyncMark {
        InSyncMark { generation: Generation(3), boot: BootId(boot) }
    }

    #[test]
    fn a_mark_survives_a_restart_of_engine_and_daemon_but_no_boot() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mark");
        MarkKeeper::open(path.clone(), BootId(1)).keep(StartId(10), Some(mark(1)));
        let again = MarkKeeper::open(path.clone(), BootId(1));
        assert_eq!(again.for_engine(StartId(11)), Some(mark(1)));
        assert_eq!(MarkKeeper::open(path, BootId(2)).for_engine(StartId(11)), None);
    }

    #[test]
    fn a_mark_of_another_boot_is_not_kept_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let mut keeper = MarkKeeper::open(dir.path().join("mark"), BootId(1));
        keeper.keep(StartId(10), Some(mark(2)));
        assert_eq!(keeper.for_engine(StartId(11)), None);
    }

    #[test]
    fn the_engine_that_dropped_its_mark_does_not_get_it_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mark");
        let mut keeper = MarkKeeper::open(path.clone(), BootId(1));
        keeper.keep(StartId(10), Some(mark(1)));
        assert_eq!(keeper.for_engine(StartId(10)), None);
        keeper.keep(StartId(10), None);
        assert_eq!(keeper.for_engine(StartId(11)), None);
        assert!(!path.exists());
    }

    #[test]
    fn a_damaged_file_is_no_mark() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mark");
        fs::write(&path, b"{\"boot\": 7").unwrap();
        assert_eq!(MarkKeeper::open(path, BootId(1)).for_engine(StartId(11)), None);
    }
}
