//! What a resource is made of: the part of its configuration that effects need. Times and retries
//! are not here: decisions own them, and every effect gets its deadline with the order.

use lockstep_engine::units::VolumeId;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

/// One resource.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Spec {
    /// A mirrored volume. Arbitration and the engine do the work.
    Mirror(VolumeId),
    /// A file system.
    Fs(FsSpec),
    /// Programs that start and stop something.
    Exec(ExecSpec),
    /// A unit of the service manager.
    Unit(UnitSpec),
    /// An address on an interface of this host.
    Address(AddressSpec),
    /// An address to which routes of a VPC lead.
    AwsVip(VipSpec),
    /// An elastic address.
    AwsEip(EipSpec),
}

/// A file system on a block device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FsSpec {
    /// Block device.
    pub device: PathBuf,
    /// Where it is mounted; must exist.
    pub mount_point: PathBuf,
    /// Which one.
    pub kind: FsKind,
    /// Options of the mount, comma-separated; may be empty.
    pub options: String,
    /// When it is checked before the mount.
    pub fsck: Fsck,
    /// Attempts to mount after the first, within one start.
    pub mount_retries: u32,
    /// Kill the users of the mount when it can't be unmounted.
    pub kill_holders: bool,
}

/// File systems that are known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FsKind {
    /// ext4.
    Ext4,
    /// XFS.
    Xfs,
}

/// When a file system is checked before the mount.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fsck {
    /// Never; its own journal is trusted.
    Never,
    /// Before each mount.
    Always,
    /// Before every n-th mount here.
    Every(u32),
}

/// A program with its arguments.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Command {
    /// Absolute path.
    pub program: PathBuf,
    /// Arguments.
    pub args: Vec<String>,
}

/// Programs that start and stop something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExecSpec {
    /// Brings it up; exit status 0 means that it is up. What it leaves behind belongs to the group.
    pub start: Command,
    /// Brings it down; exit status 0 means that it is down, also when it was before.
    pub stop: Command,
    /// Exit status 0: on; 3: off; anything else: broken. Without it, a resource is what it was
    /// last told to be.
    pub status: Option<Command>,
}

/// A unit of the service manager.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnitSpec {
    /// Such as `postgresql@15-main.service`.
    pub unit: String,
}

/// An address on an interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AddressSpec {
    /// The address.
    pub address: IpAddr,
    /// Length of its prefix, 32 or 128 for one that is routed to.
    pub prefix: u8,
    /// Name of the interface.
    pub interface: String,
}

/// An address outside the VPC, on an interface of this host; routes of the VPC lead to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VipSpec {
    /// The address.
    pub address: Ipv4Addr,
    /// Name of the interface that carries it.
    pub interface: String,
    /// The VPC.
    pub vpc: String,
    /// The network interface of this node; without it, the one that `interface` is.
    pub eni: Option<String>,
}

impl VipSpec {
    /// The part of it that is on the interface.
    pub fn on_interface(&self) -> AddressSpec {
        let interface = self.interface.clone();
        AddressSpec { address: IpAddr::V4(self.address), prefix: 32, interface }
    }
}

/// An elastic address. Of `eni` and `interface` exactly one is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EipSpec {
    /// Id of its allocation.
    pub allocation: String,
    /// The network interface of this node.
    pub eni: Option<String>,
    /// Name of the interface that is that network interface.
    pub interface: Option<String>,
}
