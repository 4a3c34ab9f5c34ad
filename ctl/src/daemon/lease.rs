//! What the peer has promised, outside the daemon (R13): in a file of the runtime directory that
//! the next daemon of the same boot reads. Always: the loop waits for no write; the file may be
//! older than the truth, so that the next daemon fences earlier, and is never newer. Of another
//! boot, or when it makes no sense, it says nothing.

use super::Daemon;
use crate::act::file;
use crate::config::cluster::{EngineView, Group, NodeView};
use crate::decide::node::KeptLease;
use crate::decide::settings::GroupIndex;
use lockstep_engine::units::{BootId, GroupId, Tick};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use tokio::sync::watch;

/// The file's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// Ticks of this boot.
    boot: BootId,
    /// Groups that need a lease, and until when they have one.
    groups: Vec<(GroupId, Tick)>,
}

/// Keeper of the leases of all groups.
pub(super) struct LeaseKeeper {
    boot: BootId,
    newest: watch::Sender<Option<Kept>>,
}

/// Where leases are kept: they are of no use in another boot.
fn path_of(view: &NodeView) -> PathBuf {
    view.run_dir.join("leases.json")
}

/// What the last daemon of this boot has left, for each group of the view.
pub(super) fn read(view: &NodeView, boot: BootId, now: Tick) -> Vec<KeptLease> {
    let left = load(&path_of(view), boot);
    let of_group = |group: &Group| {
        let kept = left.iter().find(|(id, _)| *id == group.settings.id);
        // No promise that was given before now lasts longer.
        let most = now.after(view.times.lease);
        let is_of =
            |engine: &&EngineView| group.settings.volumes.contains(&engine.config.volume.id);
        let mut engines = view.engines.iter().filter(is_of);
        KeptLease {
            until: kept.map(|(_, until)| (*until).min(most)),
            engine_listens: engines.all(|engine| listens(&engine.config.admin)),
        }
    };
    view.groups.iter().map(of_group).collect()
}

fn load(path: &Path, boot: BootId) -> Vec<(GroupId, Tick)> {
    let kept = match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice::<Kept>(&bytes).map_err(io::Error::from),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(cause) => Err(cause),
    };
    match kept {
        Ok(kept) if kept.boot == boot => kept.groups,
        Ok(_) => Vec::new(),
        Err(cause) => {
            tracing::warn!(path = %path.display(), %cause, "leases can't be read: none is known");
            Vec::new()
        }
    }
}

/// Whether a process takes connections at that socket. Never waits; in doubt it does.
fn listens(path: &Path) -> bool {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let made = socket(AddressFamily::Unix, SockType::Stream, flags, None);
    let (Ok(made), Ok(address)) = (made, UnixAddr::new(path)) else { return true };
    let ended = connect(made.as_raw_fd(), &address);
    !matches!(ended, Err(Errno::ECONNREFUSED | Errno::ENOENT))
}

impl LeaseKeeper {
    /// Starts the task that writes, always the newest, one write at a time.
    pub(super) fn open(view: &NodeView, boot: BootId) -> LeaseKeeper {
        let path = path_of(view);
        let (newest, mut changed) = watch::channel(None::<Kept>);
        tokio::spawn(async move {
            let mut failed = false;
            while changed.changed().await.is_ok() {
                let Some(kept) = changed.borrow_and_update().clone() else { continue };
                let to = path.clone();
                // Not synced: after a crash of the host nobody may have it.
                let write = move || file::replace_json(&to, &kept);
                let ended = tokio::task::spawn_blocking(write).await;
                let ended = ended.unwrap_or_else(|cause| Err(io::Error::other(cause)));
                if let (Err(cause), false) = (&ended, failed) {
                    tracing::warn!(path = %path.display(), %cause, "leases can't be kept");
                }
                failed = ended.is_err();
            }
        });
        LeaseKeeper { boot, newest }
    }

    fn keep(&self, groups: Vec<(GroupId, Tick)>) {
        let kept = Some(Kept { boot: self.boot, groups });
        self.newest.send_if_modified(|last| {
            let differs = *last != kept;
            *last = kept;
            differs
        });
    }
}

impl Daemon {
    /// Keeps what the next daemon has to know of the leases.
    pub(super) fn keep_leases(&self) {
        let of_group = |(index, group): (usize, &Group)| {
            let until = self.node.lease_to_keep(GroupIndex(index))?;
            Some((group.settings.id, until))
        };
        self.leases.keep(self.view.groups.iter().enumerate().filter_map(of_group).collect());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_lease_is_known_to_the_next_daemon_of_the_same_boot_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("leases.json");
        assert_eq!(load(&path, BootId(1)), []);
        let groups = vec![(GroupId(7), Tick(42))];
        file::replace_json(&path, &Kept { boot: BootId(1), groups: groups.clone() }).unwrap();
        assert_eq!(load(&path, BootId(1)), groups);
        assert_eq!(load(&path, BootId(2)), []);
        std::fs::write(&path, b"{").unwrap();
        assert_eq!(load(&path, BootId(1)), []);
    }

    #[test]
    fn a_dead_process_is_told_from_one_that_takes_connections() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        assert!(!listens(&path), "never there");
        let listener = UnixListener::bind(&path).unwrap();
        assert!(listens(&path));
        drop(listener);
        assert!(!listens(&path), "its file is left");
    }
}
