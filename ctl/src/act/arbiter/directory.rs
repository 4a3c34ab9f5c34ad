//! The record in a directory: each version is a file of its own, made complete and durable under
//! another name and then linked to its number, so that of two writers one gets `EEXIST`.
//! Always: a numbered file is never overwritten or removed; a link that succeeded is not reported
//! as won before the directory is durable. Each call runs in a thread of its own and may land
//! after its deadline. For one host and for file systems that both nodes mount.

use super::proof::{Proof, trouble};
use super::watch::Watch;
use super::{Arbiter, Health, PairView, Pending, Trouble};
use crate::act::file::{sync_dir, write_synced};
use crate::act::host;
use crate::decide::event::{ReadResult, SwapResult};
use crate::decide::record::Record;
use lockstep_engine::units::{ClusterId, GroupId, NodeId, Nonce, Version};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fs, io, thread};
use tokio::sync::oneshot;

/// Digits of a version's file name: the largest u64.
const VERSION_DIGITS: usize = 20;
/// Calls past their deadline that may still hang in the file system; then no more are sent.
pub const STUCK_CALLS_MAX: u32 = 32;

/// Which record is kept where.
#[derive(Clone, Debug)]
pub struct Place {
    /// The directory that both nodes see.
    pub root: PathBuf,
    /// The cluster.
    pub cluster: ClusterId,
    /// The group.
    pub group: GroupId,
    /// This node.
    pub node: NodeId,
    /// Where this node keeps the pair's id, on a disk of its own.
    pub state_dir: PathBuf,
    /// Deadline of each call.
    pub deadline: Duration,
}

/// A record in a directory.
pub struct Directory {
    inner: Arc<Inner>,
    deadline: Duration,
}

struct Inner {
    proof: Proof,
    cluster: ClusterId,
    group: GroupId,
    watch: Watch,
}

impl Directory {
    /// A store at `place`. `own` is a fresh nonce of this start of the daemon. Nothing is touched
    /// before the first call.
    pub fn new(place: Place, own: Nonce) -> Directory {
        let proof = Proof {
            group: place.root.join(place.group.to_string()),
            node: place.node,
            own,
            kept: place.state_dir.join(format!("pair-{}", place.group)),
        };
        let watch = Watch::new(format!("directory {}", place.root.display()));
        let inner = Inner { proof, cluster: place.cluster, group: place.group, watch };
        Directory { inner: Arc::new(inner), deadline: place.deadline }
    }

    /// Runs `work` in a thread of its own; `late` is the answer when the deadline comes first, or
    /// the work fails.
    fn call<T: Send + 'static>(
        &self,
        late: T,
        work: impl FnOnce(&Inner) -> Result<T, Trouble> + Send + 'static,
    ) -> Pending<T> {
        let (inner, deadline) = (Arc::clone(&self.inner), self.deadline);
        Box::pin(async move {
            let stuck = inner.watch.with(|shared| shared.health.stuck);
            if stuck >= STUCK_CALLS_MAX {
                inner.watch.ended(Err(Trouble::Stuck { calls: stuck }));
                return late;
            }
            let (done, result) = oneshot::channel();
            let (started, worker) = (Instant::now(), Arc::clone(&inner));
            let spawned = thread::Builder::new().name("arbiter".to_owned()).spawn(move || {
                // A failed send means that the deadline has passed: the call is stuck no more.
                if done.send(work(&worker)).is_err() {
                    worker.unstick();
                }
            });
            if let Err(cause) = spawned {
                inner.watch.ended(Err(trouble("start a thread for", &inner.proof.group, &cause)));
                return late;
            }
            inner.wait(deadline, started, result, late).await
        })
    }
}

impl Inner {
    fn unstick(&self) {
        // A caller that went away before its deadline was never counted.
        self.watch.with(|shared| shared.health.stuck = shared.health.stuck.saturating_sub(1));
    }

    async fn wait<T>(
        &self,
        deadline: Duration,
        started: Instant,
        mut result: oneshot::Receiver<Result<T, Trouble>>,
        late: T,
    ) -> T {
        let in_time = tokio::time::timeout(deadline, &mut result).await;
        let ended = match in_time {
            Ok(Ok(ended)) => ended,
            // The worker died: its outcome is as unknown as one that is late.
            Ok(Err(_)) => Err(Trouble::Stuck { calls: 1 }),
            Err(_) => {
                self.watch.with(|shared| shared.health.stuck += 1);
                result.close();
                match result.try_recv() {
                    // It ended between the deadline and here.
                    Ok(ended) => {
                        self.unstick();
                        ended
                    }
                    Err(_) => {
                        let ms = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
                        Err(Trouble::Slow { ms })
                    }
                }
            }
        };
        match ended {
            Ok(value) => {
                self.watch.ended(Ok(started.elapsed()));
                value
            }
            Err(trouble) => {
                self.watch.ended(Err(trouble));
                late
            }
        }
    }

    fn file(&self, version: Version) -> PathBuf {
        self.proof.group.join(format!("{:0width$}", version.0, width = VERSION_DIGITS))
    }

    /// Leaves the own proof once, and looks whether the store may be believed.
    fn believed(&self) -> Result<Option<Version>, Trouble> {
        let (pair, left) = self
            .watch
            .with(|shared| (shared.pair, shared.health.own_nonce == Some(self.proof.own)));
        if !left {
            self.proof.leave()?;
            self.watch.with(|shared| shared.health.own_nonce = Some(self.proof.own));
        }
        let highest = highest(&self.proof.group)?;
        self.proof.check(pair, highest)?;
        Ok(highest)
    }

    fn newest(&self) -> Result<Option<Record>, Trouble> {
        let Some(version) = self.believed()? else { return Ok(None) };
        let path = self.file(version);
        let bytes = fs::read(&path).map_err(|cause| trouble("read", &path, &cause))?;
        let record: Record =
            serde_json::from_slice(&bytes).map_err(|_| Trouble::Damaged { version })?;
        if record.version != version {
            return Err(Trouble::Damaged { version });
        }
        if record.cluster != self.cluster || record.group != self.group {
            return Err(Trouble::ForeignRecord);
        }
        // What is told to the decider must outlive a crash of this host.
        sync_dir(&self.proof.group).map_err(|c| trouble("sync", &self.proof.group, &c))?;
        Ok(Some(record))
    }

    fn swap(&self, expected: Option<Version>, next: &Record) -> Result<SwapResult, Trouble> {
        if next.cluster != self.cluster || next.group != self.group {
            return Err(Trouble::ForeignRecord);
        }
        let before = self.newest()?;
        if before.as_ref().map(|record| record.version) == expected
            && next.version.0 == expected.map_or(1, |version| version.0 + 1)
        {
            self.link(next)?;
        }
        // Whether this link or an earlier copy of the same request took effect, or another's did,
        // is what the store says now.
        match self.newest()? {
            Some(now) if now.version == next.version && now.nonce == next.nonce => {
                Ok(SwapResult::Won)
            }
            Some(now) => Ok(SwapResult::Lost(now)),
            None => Err(Trouble::RolledBack { found: None, persisted: next.version }),
        }
    }

    /// Puts `next` under its number unless that number is taken.
    fn link(&self, next: &Record) -> Result<(), Trouble> {
        let group = &self.proof.group;
        let bytes =
            serde_json::to_vec(next).map_err(|_| Trouble::Damaged { version: next.version })?;
        // Each attempt has a name of its own: the same request may run in two threads at once.
        let nonce = host::nonce()
            .map_err(|cause| trouble("name", group, &io::Error::other(cause.to_string())))?;
        let fresh = group.join(format!(".new-{}-{nonce}", self.proof.node));
        let linked = write_synced(&fresh, &bytes)
            .and_then(|()| fs::hard_link(&fresh, self.file(next.version)));
        if let Err(cause) = fs::remove_file(&fresh) {
            tracing::debug!(path = %fresh.display(), %cause, "left behind");
        }
        match linked {
            Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => {
                Err(trouble("link", &self.file(next.version), &cause))
            }
            _ => sync_dir(group).map_err(|cause| trouble("sync", group, &cause)),
        }
    }
}

/// The newest version in a group's directory.
fn highest(group: &Path) -> Result<Option<Version>, Trouble> {
    let entries = match fs::read_dir(group) {
        Ok(entries) => entries,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(trouble("list", group, &cause)),
    };
    let mut highest = None;
    for entry in entries {
        let entry = entry.map_err(|cause| trouble("list", group, &cause))?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| name.len() == VERSION_DIGITS) else {
            continue;
        };
        if let Ok(version) = name.parse() {
            highest = highest.max(Some(Version(version)));
        }
    }
    Ok(highest)
}

impl Arbiter for Directory {
    fn read(&self) -> Pending<ReadResult> {
        self.call(ReadResult::Failed, |inner| {
            Ok(inner.newest()?.map_or(ReadResult::Absent, ReadResult::Found))
        })
    }

    fn swap(&self, expected: Option<Version>, next: Record) -> Pending<SwapResult> {
        self.call(SwapResult::Unknown, move |inner| inner.swap(expected, &next))
    }

    fn tell(&self, pair: PairView) {
        self.inner.watch.with(|shared| shared.pair = pair);
    }

    fn health(&self) -> Health {
        self.inner.watch.with(|shared| shared.health.clone())
    }
}
