//! Makes a process of the demo end with the demo, however that ends: the kernel kills it when its
//! parent is gone. Always: what is started this way never outlives the demo, not even when the demo
//! is killed and can clean up nothing.

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// Name of the hidden verb that binds itself to its parent and becomes a process of the demo.
pub const ATTEND_VERB: &str = "demo-process";

/// Binds this process to the process `parent`, which must be its parent, and becomes `program`
/// under the same pid. Returns only an error.
///
/// The kernel watches the thread that started this process, not the whole parent: it has to be one
/// that lasts as long as the demo plays.
pub fn attend(parent: u32, program: &Path, args: &[OsString]) -> io::Error {
    if let Err(cause) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return cause.into();
    }
    // A parent that had ended before the line above sends nothing any more.
    let now = getppid().map(Pid::as_raw_nonzero).and_then(|pid| u32::try_from(pid.get()).ok());
    if now != Some(parent) {
        return io::Error::new(io::ErrorKind::BrokenPipe, "the demo has ended already");
    }
    Command::new(program).args(args).exec()
}
