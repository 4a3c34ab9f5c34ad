//! Signals that ask this process to stop, for verbs that have something to clean up first.
//! Always: the caller is told once; from then on the signals do nothing more.

use std::io;
use std::thread;
use tokio::signal::unix::{SignalKind, signal};

/// Calls `told` from a thread of its own at the first SIGINT or SIGTERM. What happens then is up
/// to the caller; the process is not ended by the signal.
///
/// # Errors
/// The kernel gives no thread or takes no handler.
pub fn on_stop(told: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut term, mut int) = {
        let _entered = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    let wait = move || {
        runtime.block_on(async {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
        });
        told();
    };
    thread::Builder::new().name("signals".to_owned()).spawn(wait).map(drop)
}
