//! Errors of starting an engine, each with object, cause and next move.
//! Always: nothing was served and nothing was written when one of these is returned.

use crate::config::{ConfigError, KeyFileError};
use crate::device::DeviceError;
use crate::format::Damage;
use crate::units::{ClusterId, GroupId, NodeId, VolumeId};
use std::fmt;
use std::path::PathBuf;

/// Why an engine does not start.
#[derive(Debug)]
pub enum StartError {
    /// The configuration is refused.
    Config(ConfigError),
    /// A partition can't be used.
    Device(DeviceError),
    /// The cluster partition was never formatted.
    NotFormatted {
        /// The cluster partition.
        path: PathBuf,
    },
    /// The cluster partition can't be understood.
    Damaged {
        /// The cluster partition.
        path: PathBuf,
        /// What is wrong with it.
        damage: Damage,
    },
    /// The cluster partition belongs to another cluster.
    WrongCluster {
        /// The cluster partition.
        path: PathBuf,
        /// From the configuration.
        expected: ClusterId,
        /// From the superblock.
        found: ClusterId,
    },
    /// The cluster partition belongs to another group.
    WrongGroup {
        /// The cluster partition.
        path: PathBuf,
        /// From the configuration.
        expected: GroupId,
        /// From the superblock.
        found: GroupId,
    },
    /// The cluster partition belongs to another volume.
    WrongVolume {
        /// The cluster partition.
        path: PathBuf,
        /// From the configuration.
        expected: VolumeId,
        /// From the superblock.
        found: VolumeId,
    },
    /// The cluster partition belongs to the other node.
    WrongNode {
        /// The cluster partition.
        path: PathBuf,
        /// From the configuration.
        expected: NodeId,
        /// From the superblock.
        found: NodeId,
    },
    /// A partition is smaller than the superblock says.
    TooSmall {
        /// The partition.
        path: PathBuf,
        /// Bytes that it must have.
        needed: u64,
        /// Bytes that it has.
        found: u64,
    },
    /// The kernel gives no ring, or the ring failed.
    Ring {
        /// What the system says.
        error: std::io::Error,
    },
    /// No memory for the buffers.
    Memory {
        /// What the system says.
        error: std::io::Error,
    },
    /// Stop signals can't be read.
    Signals {
        /// What the system says.
        error: std::io::Error,
    },
    /// The kernel's device would lie over a file of the same kernel (R37).
    DeviceOverFile {
        /// The data partition.
        path: PathBuf,
    },
    /// A helper thread does not start.
    Helper {
        /// What the system says.
        error: std::io::Error,
    },
    /// The kernel does not tell its boot id.
    NoBootId {
        /// What the system says.
        error: std::io::Error,
    },
    /// The kernel gives no random bytes.
    NoRandom {
        /// What the system says.
        error: std::io::Error,
    },
    /// A socket can't be listened on.
    Listen {
        /// Key of the configuration.
        key: &'static str,
        /// Its value.
        address: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// The key can't be used.
    Key(KeyFileError),
    /// The volume can't be offered to clients.
    Export {
        /// What is wrong with it.
        error: Box<dyn std::error::Error + Send + Sync>,
    },
    /// After a stop signal the volume could not be brought to rest.
    NotStopped,
    /// The superblock describes a volume without size.
    EmptyVolume {
        /// The cluster partition.
        path: PathBuf,
    },
}

impl From<ConfigError> for StartError {
    fn from(error: ConfigError) -> StartError {
        StartError::Config(error)
    }
}

impl From<DeviceError> for StartError {
    fn from(error: DeviceError) -> StartError {
        StartError::Device(error)
    }
}

fn wrong(
    f: &mut fmt::Formatter<'_>,
    path: &std::path::Path,
    what: &str,
    found: &dyn fmt::Display,
    expected: &dyn fmt::Display,
) -> fmt::Result {
    write!(
        f,
        "{} holds {what} {found}, the configuration expects {expected}; check \
         `cluster_partition`, nothing was written",
        path.display()
    )
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Config(error) => error.fmt(f),
            StartError::Device(error) => error.fmt(f),
            StartError::NotFormatted { path } => write!(
                f,
                "{} is not formatted; run `lockstep-engine format` with this configuration first",
                path.display()
            ),
            StartError::Damaged { path, damage } => write!(
                f,
                "{}: {damage}; look at it with `lockstep-engine inspect {}`, and if it is beyond \
                 repair run `lockstep-engine format --force` and let the peer fill this copy",
                path.display(),
                path.display()
            ),
            StartError::WrongCluster { path, expected, found } => {
                wrong(f, path, "cluster", found, expected)
            }
            StartError::WrongGroup { path, expected, found } => {
                wrong(f, path, "group", found, expected)
            }
            StartError::WrongVolume { path, expected, found } => {
                wrong(f, path, "volume", found, expected)
            }
            StartError::WrongNode { path, expected, found } => {
                wrong(f, path, "node", found, expected)
            }
            StartError::TooSmall { path, needed, found } => write!(
                f,
                "{} has {found} bytes, its superblock needs {needed}; the partition shrank or is \
                 another one, check the configuration",
                path.display()
            ),
            of_the_process => of_the_process.fmt_process(f),
        }
    }
}

impl StartError {
    /// What this process lacks, as opposed to what is wrong with a partition.
    fn fmt_process(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Ring { error } => write!(
                f,
                "io_uring: {error}; the engine needs Linux 5.11 or later, and \
                 `sysctl kernel.io_uring_disabled` at 0"
            ),
            StartError::Memory { error } => {
                write!(f, "no memory for the buffers: {error}; free 256 MiB or raise the limit")
            }
            StartError::Signals { error } => {
                write!(f, "stop signals can't be read: {error}; check the sandbox of the service")
            }
            StartError::DeviceOverFile { path } => write!(
                f,
                "data: {} is a file, and a device of the same kernel over it can wait for itself; \
                 use a partition, or remove `device`",
                path.display()
            ),
            StartError::Helper { error } => {
                write!(f, "a helper thread does not start: {error}; raise the limit of tasks")
            }
            StartError::NoBootId { error } => write!(
                f,
                "/proc/sys/kernel/random/boot_id: {error}; the engine needs /proc to tell lives of \
                 this host apart"
            ),
            StartError::NoRandom { error } => {
                write!(f, "the kernel gives no random bytes: {error}; check the sandbox")
            }
            StartError::Listen { key, address, error } => write!(
                f,
                "can't listen on {address}: {error}; check `{key}`, and that nothing else uses it"
            ),
            StartError::Key(error) => write!(f, "{error}"),
            StartError::Export { error } => write!(f, "{error}"),
            StartError::NotStopped => f.write_str(
                "stopped like a crash: the peer or a device did not let go in time; nothing that \
                 was acknowledged is lost, the next start compares what was under way",
            ),
            StartError::EmptyVolume { path } => write!(
                f,
                "{} describes a volume without size; run `lockstep-engine format`",
                path.display()
            ),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for StartError {}
