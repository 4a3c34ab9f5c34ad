//! The record without a store: each node keeps a copy, and while they can speak the copy of node a
//! is the register (DECISIONS 20). `copy` says what two copies are to each other, `alone` when a
//! node may decide by itself.
//! Always: a copy is durable before it is told to anybody; what was written is won only once both
//! copies hold it, or once this node alone may decide and nobody else is a member of it; two copies
//! that grew apart are a split, and then nothing is read and nothing is written. Survives: a lost
//! answer, which is `Unknown`, and which a read shows by its nonce.
//!
//! The price is in its name: when both nodes are cut off from each other and not from the world,
//! both may decide alone. That is never merged and always reported.

pub mod alone;
pub mod copy;
#[cfg(test)]
mod tests;

use super::watch::Watch;
use super::{Arbiter, Health, PairView, Pending, Trouble};
use crate::act::clock;
use crate::act::file;
use crate::act::work;
use crate::decide::event::{ReadResult, SwapResult};
use crate::decide::record::Record;
use alone::{Alone, Around};
use copy::{Met, RecordCopy};
use lockstep_engine::limits::Times;
use lockstep_engine::units::{ClusterId, GroupId, NodeId, Span, Version};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, io};

/// What one node's store asks the other's. Every ask bears being asked twice.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Ask {
    /// What do you hold?
    Copy,
    /// Hold this, if it has grown out of what you hold.
    Take(RecordCopy),
    /// To the register: write this on top, if `expected` is the newest. The asker holds `mine`.
    Swap { mine: RecordCopy, expected: Option<Version>, next: Record },
}

/// What is answered.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// What is held now, durably.
    Holds(RecordCopy),
    /// Nothing was done: why.
    No(Trouble),
}

/// Why there is no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lost {
    /// It was not taken up.
    Certainly,
    /// It may have been.
    Perhaps,
}

/// The way to the other node's store.
pub trait Peer: Send + Sync {
    /// Asks; ends within the store's deadline or counts as lost.
    fn ask(&self, ask: Ask) -> Pending<Result<Answer, Lost>>;
}

/// Which record, and whose.
#[derive(Clone, Debug)]
pub struct Place {
    /// The cluster.
    pub cluster: ClusterId,
    /// The group.
    pub group: GroupId,
    /// This node.
    pub node: NodeId,
    /// Where this node keeps its copy, on a disk of its own.
    pub state_dir: PathBuf,
    /// Times of SAFETY §1.2.
    pub times: Times,
}

/// Two copies that grew apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Split {
    /// The first version that was written twice, as far as is remembered.
    pub at: Version,
    /// The newest record here.
    pub ours: Option<Record>,
    /// The newest record of the peer.
    pub theirs: Option<Record>,
}

/// The record of one group on one node of a pair without a store.
pub struct Register {
    inner: Arc<Inner>,
}

struct Inner {
    place: Place,
    file: PathBuf,
    peer: Arc<dyn Peer>,
    watch: Watch,
    /// What the node sees around it.
    around: Mutex<Around>,
    /// The copy here was given up: whoever holds this handle knows another history.
    retired: AtomicBool,
}

impl Register {
    /// A store at `place`, beside that of the peer. Nothing is touched before the first call.
    pub fn new(place: Place, peer: Arc<dyn Peer>) -> Register {
        let file = place.state_dir.join(format!("record-{}.json", place.group));
        let watch = Watch::new("no arbiter: both nodes may become active".to_owned());
        let (around, retired) = (Mutex::new(Around::default()), AtomicBool::new(false));
        Register { inner: Arc::new(Inner { place, file, peer, watch, around, retired }) }
    }

    /// What the node sees around it; told whenever it may have changed.
    pub fn tell_around(&self, around: Around) {
        *lock(&self.inner.around) = around;
    }

    /// What the other node's store asks of this one.
    pub fn asked(&self, ask: Ask) -> Pending<Answer> {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move { inner.answer(ask).await.unwrap_or_else(Answer::No) })
    }

    /// What this node holds and what the peer holds, when they have grown apart.
    ///
    /// # Errors
    /// The peer does not answer, or the copy here can't be read.
    pub async fn split(&self) -> Result<Option<Split>, Trouble> {
        let ours = self.inner.own().await?;
        let theirs = match self.inner.peer.ask(Ask::Copy).await {
            Ok(Answer::Holds(theirs)) => theirs,
            Ok(Answer::No(why)) => return Err(why),
            Err(_) => return Err(Trouble::PeerNeeded),
        };
        let Met::Split { at } = ours.meet(&theirs) else { return Ok(None) };
        Ok(Some(Split { at, ours: ours.record, theirs: theirs.record }))
    }

    /// Gives up the copy of this node for that of the peer, after both were written apart: the only
    /// way out of a split. The volumes here are filled anew. Its own writes end with it: the next
    /// handle makes them.
    ///
    /// # Errors
    /// The peer does not answer, or the copy can't be stored.
    pub async fn discard_local(&self) -> Result<Record, Trouble> {
        let theirs = match self.inner.peer.ask(Ask::Copy).await {
            Ok(Answer::Holds(theirs)) => theirs,
            Ok(Answer::No(why)) => return Err(why),
            Err(_) => return Err(Trouble::PeerNeeded),
        };
        let record = theirs.record.clone().ok_or(Trouble::PeerNeeded)?;
        self.inner.check(&record)?;
        // From here on this handle writes nothing of its own.
        self.inner.retired.store(true, Ordering::SeqCst);
        self.inner.store(theirs).await?;
        Ok(record)
    }
}

/// A panic while the lock is held leaves plain values behind: they are still good.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    /// Does something with the copy here, on a thread, one at a time of all handles in this
    /// process; what it makes of it is durable before it counts. It is read anew each time: what
    /// an earlier handle has left under way may have changed it.
    async fn with_copy<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&RecordCopy) -> Result<(Option<RecordCopy>, T), Trouble> + Send + 'static,
    ) -> Result<T, Trouble> {
        let deadline = clock::now().after(self.place.times.arbiter_attempt);
        let (inner, key) = (Arc::clone(self), format!("record {}", self.file.display()));
        let done = work::run_alone("arbiter", &key, deadline, move || {
            let own = inner.load()?;
            let (fresh, value) = work(&own)?;
            if let Some(fresh) = fresh {
                let bytes = serde_json::to_vec(&fresh).map_err(|_| inner.damaged(&fresh))?;
                let stored = file::replace_synced(&inner.file, &bytes);
                stored.map_err(|cause| inner.io("store", &cause))?;
            }
            Ok(value)
        });
        done.await.unwrap_or_else(|_| {
            let ms = self.place.times.arbiter_attempt.as_millis();
            Err(Trouble::Slow { ms })
        })
    }

    fn io(&self, doing: &str, cause: &io::Error) -> Trouble {
        Trouble::Io { doing: format!("{doing} {}", self.file.display()), cause: cause.to_string() }
    }

    fn damaged(&self, copy: &RecordCopy) -> Trouble {
        Trouble::Damaged { version: copy.version() }
    }

    fn load(&self) -> Result<RecordCopy, Trouble> {
        let bytes = match fs::read(&self.file) {
            Ok(bytes) => bytes,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                return Ok(RecordCopy::default());
            }
            Err(cause) => return Err(self.io("read", &cause)),
        };
        let none = RecordCopy::default();
        let copy: RecordCopy = serde_json::from_slice(&bytes).map_err(|_| self.damaged(&none))?;
        if !copy.is_sound() {
            return Err(self.damaged(&copy));
        }
        copy.record.as_ref().map_or(Ok(()), |record| self.check(record))?;
        Ok(copy)
    }

    fn check(&self, record: &Record) -> Result<(), Trouble> {
        let ours = record.cluster == self.place.cluster && record.group == self.place.group;
        if ours { Ok(()) } else { Err(Trouble::ForeignRecord) }
    }

    async fn store(self: &Arc<Self>, copy: RecordCopy) -> Result<(), Trouble> {
        self.with_copy(move |_| Ok((Some(copy), ()))).await
    }

    async fn own(self: &Arc<Self>) -> Result<RecordCopy, Trouble> {
        self.with_copy(|own| Ok((None, own.clone()))).await
    }

    /// Takes a copy of the peer if ours has grown into it; gives what is held then.
    async fn take(self: &Arc<Self>, theirs: RecordCopy) -> Result<RecordCopy, Trouble> {
        if !theirs.is_sound() {
            return Err(self.damaged(&theirs));
        }
        theirs.record.as_ref().map_or(Ok(()), |record| self.check(record))?;
        self.with_copy(move |own| match own.meet(&theirs) {
            Met::Split { at } => Err(Trouble::SplitBrain { version: at }),
            Met::Older => Ok((Some(theirs.clone()), theirs)),
            Met::Same | Met::Newer => Ok((None, own.clone())),
        })
        .await
    }

    /// Writes of this node on top of the copy here.
    async fn write_own(
        self: &Arc<Self>,
        expected: Option<Version>,
        next: Record,
    ) -> Result<RecordCopy, Trouble> {
        if self.retired.load(Ordering::SeqCst) {
            return Err(Trouble::PeerNeeded);
        }
        self.write(expected, next).await
    }

    /// Writes on top of the copy here; gives what is held then, whether it was written or not.
    async fn write(
        self: &Arc<Self>,
        expected: Option<Version>,
        next: Record,
    ) -> Result<RecordCopy, Trouble> {
        self.check(&next)?;
        self.with_copy(move |own| match own.swapped(expected, &next) {
            Some(written) => Ok((Some(written.clone()), written)),
            None => Ok((None, own.clone())),
        })
        .await
    }

    async fn answer(self: &Arc<Self>, ask: Ask) -> Result<Answer, Trouble> {
        let holds = match ask {
            Ask::Copy => self.own().await?,
            Ask::Take(theirs) => self.take(theirs).await?,
            Ask::Swap { mine, expected, next } => {
                if self.place.node != NodeId::A {
                    return Err(Trouble::ForeignRecord);
                }
                self.take(mine).await?;
                self.write(expected, next).await?
            }
        };
        Ok(Answer::Holds(holds))
    }

    /// The copy that both nodes hold when this returns, or the own one where that is enough.
    async fn settled(self: &Arc<Self>) -> Result<RecordCopy, Trouble> {
        let own = self.own().await?;
        match self.peer.ask(Ask::Copy).await {
            Ok(Answer::Holds(theirs)) => {
                let held = self.take(theirs.clone()).await?;
                if held.meet(&theirs) == Met::Same {
                    return Ok(held);
                }
                self.give(held).await
            }
            Ok(Answer::No(why)) => Err(why),
            Err(Lost::Certainly) => {
                self.may_alone(&own).await?;
                self.above_floor(&own)?;
                Ok(own)
            }
            // It took the question up, so it is there.
            Err(Lost::Perhaps) => Err(Trouble::PeerNeeded),
        }
    }

    /// Brings the peer's copy up to this one.
    async fn give(self: &Arc<Self>, held: RecordCopy) -> Result<RecordCopy, Trouble> {
        match self.peer.ask(Ask::Take(held.clone())).await {
            Ok(Answer::Holds(theirs)) if theirs.meet(&held) == Met::Same => Ok(held),
            // It went on meanwhile: what it holds is newer, and both hold it now.
            Ok(Answer::Holds(theirs)) => self.take(theirs).await,
            Ok(Answer::No(why)) => Err(why),
            Err(_) => Err(Trouble::PeerNeeded),
        }
    }

    /// Whether this node may decide alone; a moment that is near is waited for.
    async fn may_alone(&self, own: &RecordCopy) -> Result<(), Trouble> {
        let (node, times) = (self.place.node, &self.place.times);
        let latest = clock::now().after(Span(times.arbiter_attempt.0 / 3));
        loop {
            let around = *lock(&self.around);
            match alone::may(node, own.record.as_ref(), around, times, clock::now()) {
                Alone::May => return Ok(()),
                Alone::TooEarly(at) if at <= latest => tokio::time::sleep(clock::until(at)).await,
                Alone::TooEarly(_) => return Err(Trouble::PeerNeeded),
                Alone::Isolated => return Err(Trouble::Isolated),
                Alone::Rebooted => return Err(Trouble::Rebooted),
            }
        }
    }

    async fn read(self: Arc<Self>) -> Result<ReadResult, Trouble> {
        let copy = self.settled().await?;
        Ok(copy.record.map_or(ReadResult::Absent, ReadResult::Found))
    }

    /// Alone, a copy below what the engines have persisted was rolled back. What both nodes hold is
    /// told as it is: whoever asked judges it, as with every store.
    fn above_floor(&self, copy: &RecordCopy) -> Result<(), Trouble> {
        let floor = self.watch.with(|shared| shared.pair).floor;
        let Some(floor) = floor else { return Err(Trouble::FloorUnknown) };
        if copy.version() < floor {
            let found = copy.record.as_ref().map(|record| record.version);
            return Err(Trouble::RolledBack { found, persisted: floor });
        }
        Ok(())
    }

    async fn swap(
        self: Arc<Self>,
        expected: Option<Version>,
        next: Record,
    ) -> Result<SwapResult, Trouble> {
        self.check(&next)?;
        let own = self.own().await?;
        if self.place.node == NodeId::A {
            return self.swap_here(expected, next).await;
        }
        if self.retired.load(Ordering::SeqCst) {
            return Err(Trouble::PeerNeeded);
        }
        let ask = Ask::Swap { mine: own.clone(), expected, next: next.clone() };
        match self.peer.ask(ask).await {
            Ok(Answer::Holds(theirs)) => {
                let held = self.take(theirs).await?;
                Ok(outcome(&held, &next))
            }
            Ok(Answer::No(why)) => Err(why),
            Err(Lost::Certainly) => self.swap_alone(own, expected, next).await,
            // The register may have written it.
            Err(Lost::Perhaps) => Err(Trouble::PeerNeeded),
        }
    }

    /// As the register.
    async fn swap_here(
        self: &Arc<Self>,
        expected: Option<Version>,
        next: Record,
    ) -> Result<SwapResult, Trouble> {
        match self.peer.ask(Ask::Copy).await {
            Ok(Answer::Holds(theirs)) => {
                self.take(theirs).await?;
                let held = self.write_own(expected, next.clone()).await?;
                Ok(outcome(&self.give(held).await?, &next))
            }
            Ok(Answer::No(why)) => Err(why),
            Err(Lost::Certainly) => {
                let own = self.own().await?;
                self.swap_alone(own, expected, next).await
            }
            Err(Lost::Perhaps) => Err(Trouble::PeerNeeded),
        }
    }

    async fn swap_alone(
        self: &Arc<Self>,
        own: RecordCopy,
        expected: Option<Version>,
        next: Record,
    ) -> Result<SwapResult, Trouble> {
        // Whoever forces has said that the peer is dead, and what it costs if it is not.
        if !next.forced {
            self.may_alone(&own).await?;
            self.above_floor(&own)?;
        }
        if !alone::is_own(self.place.node, &next) {
            return Err(Trouble::PeerNeeded);
        }
        let held = self.write_own(expected, next.clone()).await?;
        Ok(outcome(&held, &next))
    }

    /// Ends a call: in time and with a result, or with trouble and the result of not knowing.
    async fn call<T>(
        self: Arc<Self>,
        work: impl Future<Output = Result<T, Trouble>>,
        late: T,
    ) -> T {
        // Two calls and two writes at most: what takes longer is as good as no answer.
        let most = Span(self.place.times.arbiter_attempt.0);
        let began = Instant::now();
        let ended = match tokio::time::timeout(Duration::from_nanos(most.0), work).await {
            Ok(ended) => ended,
            Err(_) => Err(Trouble::Slow { ms: most.as_millis() }),
        };
        match ended {
            Ok(value) => {
                self.watch.ended(Ok(began.elapsed()));
                value
            }
            Err(trouble) => {
                self.watch.ended(Err(trouble));
                late
            }
        }
    }
}

/// What a copy that both nodes hold says of a write.
fn outcome(held: &RecordCopy, next: &Record) -> SwapResult {
    match &held.record {
        Some(now) if now.version == next.version && held.holds(next) => SwapResult::Won,
        Some(now) => SwapResult::Lost(now.clone()),
        None => SwapResult::Unknown,
    }
}

impl Arbiter for Register {
    fn read(&self) -> Pending<ReadResult> {
        let inner = Arc::clone(&self.inner);
        Box::pin(Arc::clone(&inner).call(inner.read(), ReadResult::Failed))
    }

    fn swap(&self, expected: Option<Version>, next: Record) -> Pending<SwapResult> {
        let inner = Arc::clone(&self.inner);
        Box::pin(Arc::clone(&inner).call(inner.swap(expected, next), SwapResult::Unknown))
    }

    fn tell(&self, pair: PairView) {
        self.inner.watch.with(|shared| shared.pair = pair);
    }

    fn health(&self) -> Health {
        self.inner.watch.with(|shared| shared.health.clone())
    }
}
