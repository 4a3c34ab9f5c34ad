//! What a person is told who interrupts a verb that waits: the daemon goes on with it.
//! Always: the process still ends by that signal, so that shells see what has happened.

use super::show;
use nix::sys::signal::{SigSet, Signal, raise};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// What is told.
const GOES_ON: &str = "interrupted: the request goes on in the daemon, this command only waited \
                       for its end; see `lockstep mirror status` or `lockstep status`";

/// While it lives, an interrupt is told before it ends the process.
pub(super) struct Interrupt {
    waits: Arc<AtomicBool>,
}

impl Interrupt {
    /// From now on. Threads that are started later leave the signal to the one that tells.
    pub(super) fn told() -> Interrupt {
        let waits = Arc::new(AtomicBool::new(true));
        let mut asked = SigSet::empty();
        asked.add(Signal::SIGINT);
        let still = Arc::clone(&waits);
        let tell = move || {
            if asked.wait().is_err() {
                return;
            }
            if still.load(Ordering::SeqCst) {
                show::error(GOES_ON);
            }
            // Nobody has taken this signal over, so that it ends the process.
            let _ = asked.thread_unblock().and_then(|()| raise(Signal::SIGINT));
        };
        // Blocked before the thread is there, which inherits it. Where it can't be, an interrupt
        // ends the process as ever.
        let blocked = asked.thread_block().is_ok();
        if blocked && thread::Builder::new().name("interrupt".to_owned()).spawn(tell).is_err() {
            let _ = asked.thread_unblock();
        }
        Interrupt { waits }
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        self.waits.store(false, Ordering::SeqCst);
    }
}
