//! What a monitor looks at: the part of its configuration that effects need. Intervals, time-outs
//! and retries are not here: decisions own them.

use crate::act::resource::spec::Command;
use lockstep_engine::units::VolumeId;
use std::net::IpAddr;
use std::path::PathBuf;

/// One monitor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Spec {
    /// ICMP echo.
    Ping { targets: Vec<IpAddr>, require: Require },
    /// TCP connect.
    Port { host: String, port: u16 },
    /// Exit status of a program.
    Exec(Command),
    /// State of a mirror; from what the daemon knows, without I/O.
    Mirror(VolumeId),
    /// O_DIRECT read of partitions.
    Disk { paths: Vec<PathBuf> },
    /// At least so many processes whose executable is this one.
    Process { executable: PathBuf, least: u32 },
    /// The status check of a resource, by group and resource name: added automatically.
    Resource { group: String, resource: String },
    /// State of this node's availability zone; the metadata of the instance name it otherwise.
    AwsZone { zone: Option<String> },
}

/// How many targets must answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Require {
    /// One.
    Any,
    /// Each.
    All,
}

/// What a probe found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// It is as it should be.
    Fine,
    /// Worth telling, and nothing to act on.
    Worth(String),
    /// It is not; object and cause.
    Wrong(String),
    /// Nothing could be found out; object and cause.
    NoAnswer(String),
}
