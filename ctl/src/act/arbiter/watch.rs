//! What a store knows between two calls: the pair as it was last told, and how its calls went.
//! Always: trouble is noted when it changes, not once per call.

use super::{Health, PairView, Trouble};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Shared by all calls on one store.
pub(super) struct Watch(Mutex<Shared>);

pub(super) struct Shared {
    pub pair: PairView,
    pub health: Health,
}

impl Watch {
    /// For a store that people know by this name.
    pub fn new(store: String) -> Watch {
        let health = Health { store, ..Health::default() };
        Watch(Mutex::new(Shared { pair: PairView::default(), health }))
    }

    pub fn with<T>(&self, read: impl FnOnce(&mut Shared) -> T) -> T {
        // A panic while the lock is held leaves plain values behind: they are still good.
        read(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A call ended: in time, or with trouble.
    pub fn ended(&self, how: Result<Duration, Trouble>) {
        self.with(|shared| {
            shared.health.tried = true;
            match how {
                Ok(took) => {
                    shared.health.last_ms = u64::try_from(took.as_millis()).ok();
                    shared.health.trouble = None;
                }
                Err(trouble) => {
                    if shared.health.trouble.as_ref() != Some(&trouble) {
                        // The daemon tells people of one that lasts.
                        tracing::debug!(store = %shared.health.store, %trouble, "arbiter");
                    }
                    shared.health.trouble = Some(trouble);
                }
            }
        });
    }
}
