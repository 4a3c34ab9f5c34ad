//! Reads the pre-shared key that a configuration names. Engine and daemon both read it here, so
//! that neither takes a file which the other refuses, and both say the same about it.
//! Always: a key that is returned has its full strength; an error never shows what the file holds.

use crate::wire::greeting::{Key, KeyError};
use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Rights that nobody but the owner and readers of the group should have.
const OTHERS: u32 = 0o027;

/// Why a key file can't be used.
#[derive(Debug)]
pub enum KeyFileError {
    /// It can't be read.
    Unreadable {
        /// The key file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// It holds something else.
    Malformed {
        /// The key file.
        path: PathBuf,
        /// What is wrong with it.
        error: KeyError,
    },
}

impl fmt::Display for KeyFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyFileError::Unreadable { path, error } => write!(
                f,
                "key file {}: {error}; check `key_file`, and copy one key to both nodes",
                path.display()
            ),
            KeyFileError::Malformed { path, error } => {
                write!(f, "key file {}: {error}", path.display())
            }
        }
    }
}

impl std::error::Error for KeyFileError {}

/// A key file that more than its owner and its group may use. It is taken all the same: a node that
/// does not come back after a failover would be the worse harm.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyExposed {
    /// The key file.
    pub path: PathBuf,
    /// Its permission bits.
    pub mode: u32,
}

impl fmt::Display for KeyExposed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        write!(
            f,
            "key file {path}: its mode {:03o} lets others use it, and whoever has the key can \
             write to this volume; run `chmod 600 {path}`",
            self.mode
        )
    }
}

/// Whether others than the owner and the group of `path` may use it. A file that can't be looked
/// at is not exposed; `read_key` tells what is wrong with it.
pub fn key_exposed(path: &Path) -> Option<KeyExposed> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
    (mode & OTHERS != 0).then(|| KeyExposed { path: path.to_owned(), mode })
}

/// The key in `path`: 64 hex digits, with or without a newline behind them.
///
/// # Errors
/// The file can't be read, or holds something else.
pub fn read_key(path: &Path) -> Result<Key, KeyFileError> {
    let unreadable = |error| KeyFileError::Unreadable { path: path.to_owned(), error };
    let bytes = std::fs::read(path).map_err(unreadable)?;
    // Bytes that are no text are no hex digits either.
    String::from_utf8_lossy(&bytes)
        .parse()
        .map_err(|error| KeyFileError::Malformed { path: path.to_owned(), error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_that_others_may_read_is_told_with_the_way_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, "x").unwrap();
        let set = |mode| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            key_exposed(&path)
        };
        for mode in [0o600, 0o400, 0o640] {
            assert_eq!(set(mode), None, "{mode:o}");
        }
        for mode in [0o644, 0o660, 0o666, 0o604] {
            let told = set(mode).map(|exposed| exposed.to_string()).unwrap_or_default();
            assert!(told.contains(&format!("mode {mode:o}")), "{told}");
            assert!(told.ends_with(&format!("run `chmod 600 {}`", path.display())), "{told}");
        }
        assert_eq!(key_exposed(&dir.path().join("none")), None);
    }

    #[test]
    fn only_a_whole_key_is_taken_and_no_error_shows_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let missing = read_key(&path).unwrap_err();
        assert!(matches!(missing, KeyFileError::Unreadable { .. }), "{missing}");
        std::fs::write(&path, format!("{}\n", "5a".repeat(32))).unwrap();
        assert_eq!(read_key(&path).unwrap(), Key::new([0x5a; 32]));
        for text in [&b"0123456789abcdef0123\n"[..], &[0xff; 64], &[b'0'; 64], b""] {
            std::fs::write(&path, text).unwrap();
            let said = read_key(&path).unwrap_err().to_string();
            assert!(said.contains("64 random hex digits"), "{said}");
            assert!(said.contains(&path.display().to_string()), "{said}");
            assert!(!said.contains("0123456789"), "{said}");
        }
    }
}
