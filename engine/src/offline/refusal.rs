//! Why `format` refuses or fails, for the operator: object, cause, next move.

use super::Content;
use crate::config::KeyFileError;
use crate::device::DeviceError;
use crate::limits::{DATA_TAIL_BYTES, VOLUME_BYTES_MAX};
use crate::units::{BLOCK_BYTES, VolumeId};
use std::fmt;
use std::path::PathBuf;

/// Why `format` refuses or fails.
#[derive(Debug)]
pub enum FormatError {
    /// A partition can't be used.
    Device(DeviceError),
    /// The data partition has no room for a volume beside the tail.
    DataTooSmall {
        /// The data partition.
        path: PathBuf,
        /// Its bytes.
        found: u64,
    },
    /// The data partition is larger than a volume may be.
    DataTooLarge {
        /// The data partition.
        path: PathBuf,
        /// Its bytes.
        found: u64,
    },
    /// The cluster partition can't hold the metadata of that volume.
    ClusterTooSmall {
        /// The cluster partition.
        path: PathBuf,
        /// Bytes that it must have.
        needed: u64,
        /// Its bytes.
        found: u64,
    },
    /// The cluster partition holds a superblock already.
    Formatted {
        /// The cluster partition.
        path: PathBuf,
        /// Volume that it belongs to.
        volume: VolumeId,
    },
    /// The cluster partition holds something else.
    ClusterInUse {
        /// The cluster partition.
        path: PathBuf,
        /// What it holds.
        content: Content,
    },
    /// The data partition carries the tail of a volume.
    Tail {
        /// The data partition.
        path: PathBuf,
        /// Volume that it belongs to.
        volume: VolumeId,
    },
    /// The data partition holds something.
    DataInUse {
        /// The data partition.
        path: PathBuf,
        /// What it holds.
        content: Content,
    },
    /// The file system on the data partition reaches into the last 1 MiB.
    NoRoomForTail {
        /// The data partition.
        path: PathBuf,
        /// What it holds.
        content: Content,
        /// Bytes at which it must end.
        limit: u64,
    },
    /// Nobody can tell where the content ends.
    CannotAdopt {
        /// The data partition.
        path: PathBuf,
        /// What it holds.
        content: Option<Content>,
    },
    /// Both partitions are the same one.
    SamePartition {
        /// Where both names lead.
        path: PathBuf,
    },
    /// The operating system gives no random numbers.
    NoRandomness,
    /// The engine could not be started with this key.
    Key(KeyFileError),
}

impl From<DeviceError> for FormatError {
    fn from(error: DeviceError) -> FormatError {
        FormatError::Device(error)
    }
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FormatError::Device(error) => error.fmt(f),
            FormatError::DataTooSmall { path, found } => write!(
                f,
                "data partition {} has {found} bytes; it needs more than {} (1 MiB of it belongs \
                 to Lockstep)",
                path.display(),
                DATA_TAIL_BYTES + BLOCK_BYTES
            ),
            FormatError::DataTooLarge { path, found } => write!(
                f,
                "data partition {} has {found} bytes; a volume may have {VOLUME_BYTES_MAX}, use a \
                 smaller partition",
                path.display()
            ),
            FormatError::ClusterTooSmall { path, needed, found } => write!(
                f,
                "cluster partition {} has {found} bytes, this volume needs {needed}; enlarge it \
                 or lower limits.intent_regions",
                path.display()
            ),
            FormatError::SamePartition { path } => write!(
                f,
                "`data` and `cluster_partition` both lead to {}; give each its own partition",
                path.display()
            ),
            FormatError::Key(error) => write!(f, "{error}; nothing was written"),
            FormatError::NoRandomness => {
                f.write_str("the operating system gives no random numbers; try again later")
            }
            other => other.show_content(f),
        }
    }
}

impl FormatError {
    /// The refusals that protect what is there.
    fn show_content(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FormatError::Formatted { path, volume } => write!(
                f,
                "{} already is a cluster partition of volume {volume}; nothing was written; check \
                 `cluster_partition` and `data`, or `--force` to give up what it knows",
                path.display()
            ),
            FormatError::ClusterInUse { path, content } => write!(
                f,
                "cluster partition {} holds {content}; nothing was written; check \
                 `cluster_partition`, or `--force` to overwrite it",
                path.display()
            ),
            FormatError::Tail { path, volume } => write!(
                f,
                "{} already is a data partition of volume {volume}; nothing was written; check \
                 `data` and `cluster_partition`, or `--force` to take it over",
                path.display()
            ),
            FormatError::DataInUse { path, content } => write!(
                f,
                "data partition {} holds {content}; nothing was written; `--adopt` keeps a file \
                 system that leaves the last 1 MiB free, `--force` gives the content up",
                path.display()
            ),
            FormatError::NoRoomForTail { path, content, limit } => write!(
                f,
                "data partition {} holds {content}, which must end at byte {limit} to leave \
                 Lockstep its 1 MiB; shrink the file system or enlarge the partition first",
                path.display()
            ),
            FormatError::CannotAdopt { path, content: Some(content) } => write!(
                f,
                "data partition {} holds {content}, whose end can't be told; only ext2/3/4 and \
                 xfs can be adopted",
                path.display()
            ),
            FormatError::CannotAdopt { path, content: None } => write!(
                f,
                "data partition {} holds no file system that could be adopted; leave `--adopt` out",
                path.display()
            ),
            // Told above; named here, so that a new one is not forgotten.
            FormatError::Device(_)
            | FormatError::DataTooSmall { .. }
            | FormatError::DataTooLarge { .. }
            | FormatError::ClusterTooSmall { .. }
            | FormatError::SamePartition { .. }
            | FormatError::Key(_)
            | FormatError::NoRandomness => Ok(()),
        }
    }
}

impl std::error::Error for FormatError {}
