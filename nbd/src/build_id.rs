//! Which sources a program was built from. It stands in this crate because all others build on it.

/// Hash of the sources of all members, as 32 hex digits. Two programs that show the same id were
/// built from the same text.
pub const BUILD_ID: &str = env!("LOCKSTEP_BUILD_ID");

/// What `--version` shows behind the name of a program: the version and the build id.
pub const VERSION: &str =
    concat!(env!("CARGO_PKG_VERSION"), " (build ", env!("LOCKSTEP_BUILD_ID"), ")");
