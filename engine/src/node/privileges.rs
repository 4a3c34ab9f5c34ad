//! What makes an engine safe under memory pressure (R35, R36), as far as the system allows it.
//! Always: each refusal is one line, with what it means and how to get it; none is fatal.

use crate::uring::sys;

/// Takes what is allowed. Call before the first thread and the first large allocation.
pub fn take(lock_memory: bool) {
    if let Err(error) = sys::be_io_flusher() {
        tracing::warn!(
            %error,
            "io flusher refused: under memory pressure this engine may wait for itself; grant \
             CAP_SYS_RESOURCE"
        );
    }
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", "-1000") {
        tracing::warn!(
            %error,
            "oom score refused: the kernel may choose this engine when memory runs out; grant \
             CAP_SYS_RESOURCE"
        );
    }
    if let Err(error) = sys::be_punctual() {
        tracing::warn!(%error, "timer slack refused: timers come up to 50 µs late");
    }
    if !sys::one_heap() {
        tracing::warn!("the allocator keeps a heap for each thread: more memory is locked");
    }
    if !lock_memory {
        tracing::warn!("memory is not locked: `limits.lock_memory` is off, fine for a lab");
    } else if let Err(error) = sys::lock_memory() {
        let limit = sys::memlock_limit();
        tracing::warn!(
            %error,
            ?limit,
            "memory lock refused: this engine may be swapped out; raise LimitMEMLOCK or grant \
             CAP_IPC_LOCK"
        );
    }
}
