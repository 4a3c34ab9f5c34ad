//! The Linux side of a volume: `/dev/nbdN`, made from sockets, without helper programs (R40).
//! Always: nothing here opens, reads or examines the device itself (R38), only messages of generic
//! netlink and files below `/sys`; every call may block, so none belongs on the thread that answers
//! the device's requests.
//!
//! How a device survives its server, and which of the kernel's ways is taken for it:
//!
//! - One socket for a device. With several, the kernel's timer for requests always kills sockets,
//!   so that a mirror which holds its writes until a decision is made would lose its device.
//! - `TIMEOUT` is 0, so that a request may take as long as it takes: with one socket the timer then
//!   only looks, and sends a request again when its socket has been replaced. The price is that a
//!   request which a dead server had not answered waits for that look; how often the kernel looks
//!   is `queue/io_timeout`, here [`LOOK_MS`] in place of 30 s.
//! - `DEAD_CONN_TIMEOUT` is [`DEAD_SECONDS`]: new requests wait for a server that long. Whoever
//!   wants errors instead disconnects the device.
//! - A device is found again by its backend identifier, `lockstep/VOLUME`, which the kernel keeps
//!   beside it and shows in `/sys/block/nbdN/backend`: nothing has to be remembered elsewhere.
//!   The same text is its name below `/dev`, by a rule of udev, or by us where udev is not.

mod control;
mod error;
mod message;
mod module;
mod name;
mod sysfs;

pub use control::{Control, Events, Shown};
pub use error::DeviceError;
pub use message::Wanted;
pub use module::{Loaded, load};
pub use name::{Named, remove_link, settle_link};
pub use sysfs::{find, numbered, tune};

use std::os::fd::BorrowedFd;

/// How often the kernel looks at requests that are not answered, in milliseconds.
pub const LOOK_MS: u64 = 2_000;
/// How long requests wait for a new server, in seconds: 30 days.
pub const DEAD_SECONDS: u64 = 30 * 86_400;
/// Largest request that the kernel makes, in KiB.
pub const REQUEST_KIB: u64 = 1_024;
/// How far the kernel reads ahead, in KiB.
pub const READ_AHEAD_KIB: u64 = 1_024;
/// In front of a volume's name in backend identifiers, and below `/dev`.
pub const PREFIX: &str = "lockstep/";

/// The identifier of a volume's device.
pub fn backend(volume: &str) -> String {
    format!("{PREFIX}{volume}")
}

/// How a device came to its sockets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// It was made.
    Connected,
    /// It was there, with a server that is gone; its requests waited.
    Taken,
}

/// A device that has a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attached {
    /// The N of `/dev/nbdN`.
    pub index: u32,
    /// How.
    pub way: Way,
}

/// Gives the volume's device these sockets: the one that is there, or else a new one.
///
/// The other ends must be served by another thread already: the kernel and udev read at once. When
/// a device is taken over, the kernel drops a socket for which no place is free, which its other
/// end sees as the end of the connection.
///
/// # Errors
/// The kernel refused, or the wanted number is in use by somebody else.
pub fn attach(
    control: &mut Control,
    wanted: &Wanted,
    sockets: &[BorrowedFd<'_>],
) -> Result<Attached, DeviceError> {
    let there = find(&wanted.backend)?;
    let taken =
        there.into_iter().find_map(|index| match control.reconfigure(index, wanted, sockets) {
            Ok(()) => Some(Ok(index)),
            // It was disconnected, and somebody still has it open.
            Err(error) if error.is_not_configured() => None,
            Err(error) => Some(Err(error)),
        });
    let (index, way) = match taken {
        Some(index) => (index?, Way::Taken),
        None => (control.connect(wanted, sockets)?, Way::Connected),
    };
    sysfs::announce(index);
    Ok(Attached { index, way })
}

/// Takes the volume's devices away: whatever waits there fails with an error. None is no fault.
///
/// # Errors
/// The kernel refused.
pub fn detach(control: &mut Control, backend: &str) -> Result<Vec<u32>, DeviceError> {
    let there = find(backend)?;
    for &index in &there {
        control.disconnect(index)?;
        sysfs::announce(index);
    }
    Ok(there)
}
