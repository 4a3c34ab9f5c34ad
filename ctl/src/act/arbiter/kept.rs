//! Which store this node has proved to be the pair's, on a disk of its own.
//! Always: read once and written only when it changes, in a thread that may wait for the disk.
//! Survives: a crash between any two steps of the write.

use super::Trouble;
use super::blocking::Blocking;
use super::proof::trouble;
use super::view::Kept;
use crate::act::file;
use crate::act::host;
use std::path::{Path, PathBuf};
use std::{fs, io};
use tokio::sync::Mutex;

/// The file, and what is known of it.
pub(super) struct Keeper {
    path: PathBuf,
    blocking: Blocking,
    known: Mutex<Known>,
}

#[derive(Clone, Copy)]
enum Known {
    /// Not read yet.
    Unread,
    /// What it says.
    Says(Option<Kept>),
}

impl Keeper {
    pub fn new(path: PathBuf, blocking: Blocking) -> Keeper {
        Keeper { path, blocking, known: Mutex::new(Known::Unread) }
    }

    /// What is kept.
    pub async fn get(&self) -> Result<Option<Kept>, Trouble> {
        let mut known = self.known.lock().await;
        if let Known::Says(kept) = *known {
            return Ok(kept);
        }
        let path = self.path.clone();
        let kept = self.blocking.run(move || load(&path)).await?;
        *known = Known::Says(kept);
        Ok(kept)
    }

    /// Keeps something else, durably.
    pub async fn put(&self, kept: Kept) -> Result<(), Trouble> {
        let mut known = self.known.lock().await;
        if matches!(*known, Known::Says(Some(same)) if same == kept) {
            return Ok(());
        }
        // A call that is given up leaves an unread file, not a stale memory of it.
        *known = Known::Unread;
        let path = self.path.clone();
        self.blocking.run(move || store(&path, kept)).await?;
        *known = Known::Says(Some(kept));
        Ok(())
    }
}

fn load(path: &Path) -> Result<Option<Kept>, Trouble> {
    match fs::read(path) {
        // A file that is not understood proves nothing.
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(trouble("read", path, &cause)),
    }
}

fn store(path: &Path, kept: Kept) -> Result<(), Trouble> {
    let failed = |cause: io::Error| trouble("write", path, &cause);
    let parent = path.parent().unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(parent).map_err(failed)?;
    let bytes = serde_json::to_vec(&kept).map_err(|cause| failed(io::Error::other(cause)))?;
    // A write that was given up may still run: each has a name of its own.
    let attempt = host::nonce().map_err(|cause| failed(io::Error::other(cause.to_string())))?;
    let fresh = path.with_extension(format!("new-{attempt}"));
    file::replace_synced_by(path, &fresh, &bytes).map_err(failed)
}
