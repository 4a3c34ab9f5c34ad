//! The bytes of the cluster partition (and of the data tail): layout, superblock, intent log,
//! bitmap, checksums, inspection. Pure: pages in, values out, and back.
//! Always: damage is reported as damage; nothing is trusted that does not check.

pub mod bitmap;
mod bytes;
pub mod checksum;
pub mod damage;
pub mod inspect;
pub mod intent_log;
pub mod layout;
pub mod log_page;
pub mod recover;
pub mod superblock;
mod superblock_bytes;
pub mod tail;

pub use damage::Damage;

/// Versions of the format, oldest first: number and what changed, and why.
/// A new number keeps the golden vectors of the old ones.
pub const LEDGER: &[(u16, &str)] = &[(1, "first shape")];

/// Version that is written.
pub const VERSION: u16 = LEDGER[LEDGER.len() - 1].0;
