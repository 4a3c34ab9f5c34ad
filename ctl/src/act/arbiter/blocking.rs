//! Work that may wait for a disk or for the system's resolver, outside the loop.
//! Always: at most so many pieces of it hang at once; one more is refused, not queued.

use super::Trouble;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Pieces of work that may hang at once.
const HANGING_MAX: u32 = 8;

/// The room for such work of one store.
#[derive(Clone)]
pub(super) struct Blocking(Arc<Semaphore>);

impl Blocking {
    pub fn new() -> Blocking {
        Blocking(Arc::new(Semaphore::new(HANGING_MAX as usize)))
    }

    /// Runs `work` in a thread. A caller that goes away leaves it running, and counted.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, Trouble> {
        let stuck = Trouble::Stuck { calls: HANGING_MAX };
        let Ok(room) = Arc::clone(&self.0).try_acquire_owned() else { return Err(stuck) };
        let running = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(room);
            done
        });
        // Only a panic ends it without a result.
        running.await.unwrap_or(Err(Trouble::Stuck { calls: 1 }))
    }
}
