//! What this host is: its boot id, fresh random values, and whether a process is still there.

use lockstep_engine::units::{BootId, Nonce};
use std::fmt;
use std::path::{Path, PathBuf};

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Why the host could not be asked.
#[derive(Debug)]
pub enum HostError {
    /// The kernel's boot id can't be read.
    BootId { cause: std::io::Error },
    /// The kernel's boot id has an unknown shape.
    BootIdShape { found: String },
    /// The kernel gives no random numbers.
    Random { cause: getrandom::Error },
    /// A key file can't be used.
    Key { path: PathBuf, cause: std::io::Error },
    /// A key is too short to protect anything.
    KeyShort { path: PathBuf, bytes: usize },
}

/// Fewest bytes of a cluster key.
pub const KEY_BYTES_MIN: usize = 16;

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostError::BootId { cause } => {
                write!(f, "{BOOT_ID}: {cause}; is /proc mounted?")
            }
            HostError::BootIdShape { found } => {
                write!(f, "{BOOT_ID}: \"{found}\" is no boot id; is /proc the kernel's own?")
            }
            HostError::Random { cause } => {
                write!(f, "the kernel's random numbers: {cause}; nothing safe can be started")
            }
            HostError::Key { path, cause } => {
                write!(f, "key file {}: {cause}; check `key_file =`", path.display())
            }
            HostError::KeyShort { path, bytes } => write!(
                f,
                "key file {}: {bytes} bytes are too few; make one with at least {KEY_BYTES_MIN} \
                 random bytes and copy it to both nodes",
                path.display()
            ),
        }
    }
}

impl std::error::Error for HostError {}

/// Identity of this boot of the host.
///
/// # Errors
/// When `/proc` is not there or not the kernel's.
pub fn boot_id() -> Result<BootId, HostError> {
    let text = std::fs::read_to_string(BOOT_ID).map_err(|cause| HostError::BootId { cause })?;
    let hex: String = text.trim().chars().filter(|c| *c != '-').collect();
    hex.parse().map_err(|_| HostError::BootIdShape { found: text.trim().to_owned() })
}

/// A fresh random value, never zero.
///
/// # Errors
/// When the kernel gives none.
pub fn nonce() -> Result<Nonce, HostError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|cause| HostError::Random { cause })?;
    Ok(Nonce(u128::from_le_bytes(bytes) | 1))
}

/// The cluster key: the bytes of the file without white space at its end.
///
/// # Errors
/// When the file can't be read or holds too little.
pub fn read_key(path: &Path) -> Result<Vec<u8>, HostError> {
    let mut key =
        std::fs::read(path).map_err(|cause| HostError::Key { path: path.to_owned(), cause })?;
    while key.last().is_some_and(u8::is_ascii_whitespace) {
        key.pop();
    }
    if key.len() < KEY_BYTES_MIN {
        return Err(HostError::KeyShort { path: path.to_owned(), bytes: key.len() });
    }
    Ok(key)
}

/// When the process `pid` started, in the kernel's clock ticks: with the pid, this names one
/// process for the whole boot. `None` when it is gone or a zombie.
pub fn process_started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command stands in parentheses and may contain anything, also parentheses.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    if matches!(fields.next(), Some("Z" | "X")) {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_id_stays_the_same() {
        let first = boot_id().unwrap();
        assert!(first.is_some());
        assert_eq!(first, boot_id().unwrap());
    }

    #[test]
    fn this_process_has_started_and_a_wild_pid_has_not() {
        assert!(process_started(std::process::id()).is_some());
        assert_eq!(process_started(u32::MAX), None);
    }

    #[test]
    fn a_key_loses_its_newline_and_must_be_long_enough() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, "0123456789abcdef0123\n").unwrap();
        assert_eq!(read_key(&path).unwrap(), b"0123456789abcdef0123");
        std::fs::write(&path, "short\n").unwrap();
        assert!(matches!(read_key(&path), Err(HostError::KeyShort { bytes: 5, .. })));
    }
}
