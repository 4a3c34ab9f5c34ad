//! Errors of starting an engine, each with object, cause and next move.
//! Always: nothing was served and nothing was written when one of these is returned.

use crate::config::ConfigError;
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
    /// The program was built without its data plane.
    NoDataPlane,
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
            StartError::NoDataPlane => f.write_str(
                "this build of lockstep-engine has no data plane and can't run a volume; install \
                 a complete build",
            ),
        }
    }
}

impl std::error::Error for StartError {}
