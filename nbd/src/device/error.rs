//! Why a device can't be had.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// EINVAL, which the kernel says of a device that is not configured (any more).
const INVALID: i32 = 22;
/// EPERM.
const NOT_PERMITTED: i32 = 1;
/// EBUSY.
const BUSY: i32 = 16;

/// What failed, and why.
#[derive(Debug)]
pub enum DeviceError {
    /// No socket of generic netlink.
    Netlink {
        /// What the system says.
        error: io::Error,
    },
    /// The kernel has no NBD client, and it could not be loaded.
    NoModule {
        /// Why not.
        error: LoadError,
    },
    /// The kernel answered something that can't be read.
    Malformed {
        /// The request.
        doing: &'static str,
    },
    /// The kernel refused a request.
    Refused {
        /// The request.
        doing: &'static str,
        /// The device, if it was named.
        index: Option<u32>,
        /// What the kernel says.
        error: io::Error,
    },
    /// A file below `/sys` or `/dev`.
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

/// Why a module was not loaded.
#[derive(Debug)]
pub enum LoadError {
    /// The running kernel has no such module on disk.
    Absent {
        /// Where it was looked for.
        list: PathBuf,
        /// What was wrong with the list, if it could not be read.
        error: Option<io::Error>,
    },
    /// The kernel did not take it.
    Refused {
        /// The module.
        path: PathBuf,
        /// What the kernel says.
        error: io::Error,
    },
}

impl DeviceError {
    /// Whether the device is not there to be reconfigured.
    pub(super) fn is_not_configured(&self) -> bool {
        matches!(self, DeviceError::Refused { error, .. } if error.raw_os_error() == Some(INVALID))
    }
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceError::Netlink { error } => {
                write!(f, "generic netlink: {error}; is AF_NETLINK allowed to this process?")
            }
            DeviceError::NoModule { error } => write!(f, "the kernel has no NBD client: {error}"),
            DeviceError::Malformed { doing } => {
                write!(f, "{doing}: the kernel's answer can't be read; is it older than 4.12?")
            }
            DeviceError::Refused { doing, index, error } => {
                match index {
                    Some(index) => write!(f, "{doing} /dev/nbd{index}: {error}")?,
                    None => write!(f, "{doing} an NBD device: {error}")?,
                }
                match error.raw_os_error() {
                    Some(NOT_PERMITTED) => f.write_str("; grant CAP_SYS_ADMIN"),
                    Some(BUSY) => f.write_str("; another program uses it: name another number"),
                    _ => Ok(()),
                }
            }
            DeviceError::File { path, error } => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Absent { list, error: None } => write!(
                f,
                "{} names no nbd; install the package with the modules of this kernel",
                list.display()
            ),
            LoadError::Absent { list, error: Some(error) } => {
                write!(f, "{}: {error}; load it with `modprobe nbd`", list.display())
            }
            LoadError::Refused { path, error } => write!(
                f,
                "{}: {error}; load it with `modprobe nbd`, or grant CAP_SYS_MODULE",
                path.display()
            ),
        }
    }
}

impl std::error::Error for DeviceError {}
impl std::error::Error for LoadError {}
