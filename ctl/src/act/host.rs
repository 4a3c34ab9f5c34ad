//! What this host is: its name and boot id, fresh random values, whether a process is still
//! there, what a file holds.

use lockstep_engine::units::{BootId, Nonce};
use sha2::{Digest, Sha256};
use std::fmt;

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
}

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
        }
    }
}

impl std::error::Error for HostError {}

/// Its name.
pub fn name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

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

/// Digest of a file's bytes: what two nodes compare. Never zero.
pub fn digest(bytes: &[u8]) -> u128 {
    let sum = Sha256::digest(bytes);
    let mut first = [0; 16];
    first.copy_from_slice(&sum[..16]);
    u128::from_le_bytes(first).max(1)
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
}
