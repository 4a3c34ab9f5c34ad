//! A thread of its own for all work of the SDK: reading certificates, signing and taking answers
//! apart would keep heartbeats and fences waiting. Always: dropping what was asked for ends it.

use std::future::Future;
use std::sync::OnceLock;
use std::thread;
use tokio::runtime::{Builder, Handle};
use tokio::task::{JoinError, JoinHandle};

/// The thread's loop; `None` where the host gives none.
fn handle() -> Option<&'static Handle> {
    static HANDLE: OnceLock<Option<Handle>> = OnceLock::new();
    let make = || {
        let runtime = Builder::new_current_thread().enable_all().build().ok()?;
        let handle = runtime.handle().clone();
        let work = move || runtime.block_on(std::future::pending::<()>());
        // It lasts as long as the process.
        thread::Builder::new().name("aws".to_owned()).spawn(work).ok()?;
        Some(handle)
    };
    HANDLE.get_or_init(make).as_ref()
}

/// Ends the work when nobody waits for it any more.
struct Asked<T>(JoinHandle<T>);

impl<T> Drop for Asked<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Does the work beside the caller's thread; on it, where there is no other.
///
/// # Errors
/// The work ended in a panic.
pub(in crate::act) async fn aside<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, JoinError> {
    let task = match handle() {
        Some(handle) => handle.spawn(work),
        None => tokio::spawn(work),
    };
    let mut asked = Asked(task);
    (&mut asked.0).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn work_is_done_elsewhere_and_ends_with_its_asker() {
        let here = thread::current().id();
        assert_ne!(aside(async { thread::current().id() }).await.unwrap(), here);
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        let waits = aside(async move {
            std::future::pending::<()>().await;
            drop(sender);
        });
        assert!(tokio::time::timeout(Duration::from_millis(20), waits).await.is_err());
        assert!(receiver.await.is_err(), "what waited was dropped");
    }
}
