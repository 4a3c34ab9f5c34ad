//! The bytes of the cluster partition (and of the data tail): layout, superblock, intent log,
//! bitmap, checksums, inspection. Pure: pages in, values out, and back.
//! Always: damage is reported as damage; nothing is trusted that does not check.

pub mod superblock;
