//! The record in DynamoDB: one item per group, replaced by one conditional write that compares the
//! record's version and nonce and the pair's id.
//! Always: reads are strongly consistent; the SDK repeats nothing; a write whose outcome is unknown
//! is looked for by its nonce, never sent again by itself. What was not known by the deadline is
//! `Failed` or `Unknown` (R4).

mod make;
mod shape;

pub use make::{Made, MakeError, make};

use super::blocking::Blocking;
use super::kept::Keeper;
use super::view::{Kept, Proved, View};
use super::watch::Watch;
use super::{Arbiter, Health, PairView, Pending, Trouble};
use crate::act::aws;
use crate::decide::event::{ReadResult, SwapResult};
use crate::decide::record::{Record, RecordError};
use lockstep_aws::{Aws, Error, Kind, Seen, Settings, Swap, Swapped};
use lockstep_engine::units::{ClusterId, GroupId, NodeId, Nonce, Version};
use shape::{PAIR, Shape, store_id};
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout_at};

/// Which record is kept where.
#[derive(Clone, Debug)]
pub struct Place {
    /// The table.
    pub table: String,
    /// How AWS is reached. Its deadlines are replaced by the one below.
    pub settings: Settings,
    /// The cluster.
    pub cluster: ClusterId,
    /// The group.
    pub group: GroupId,
    /// This node.
    pub node: NodeId,
    /// Where this node keeps what it has proved, on a disk of its own.
    pub state_dir: PathBuf,
    /// Deadline of each call.
    pub deadline: Duration,
}

/// A record in DynamoDB.
pub struct Dynamodb {
    inner: Arc<Inner>,
}

struct Inner {
    place: Place,
    shape: Shape,
    /// Own proof of this start of the daemon.
    own: Nonce,
    keeper: Keeper,
    watch: Watch,
    /// Region and credentials are found by the first call that needs them.
    aws: OnceCell<Aws>,
}

impl Dynamodb {
    /// A store at `place`. `own` is a fresh nonce of this start of the daemon. Nothing is touched
    /// before the first call, which must be made within a tokio runtime.
    pub fn new(place: Place, own: Nonce) -> Dynamodb {
        let region = place.settings.region.as_ref().map_or(String::new(), |r| format!(" in {r}"));
        let kept = place.state_dir.join(format!("dynamodb-{}", place.group));
        let inner = Inner {
            shape: Shape { cluster: place.cluster, group: place.group, node: place.node },
            own,
            keeper: Keeper::new(kept, Blocking::new()),
            watch: Watch::new(format!("dynamodb {}{region}", place.table)),
            aws: OnceCell::new(),
            place,
        };
        Dynamodb { inner: Arc::new(inner) }
    }

    /// Runs `work` until the deadline; `late` is the answer when it comes first, or the work fails.
    fn call<T, F>(&self, late: T, work: impl FnOnce(Arc<Inner>) -> F) -> Pending<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Trouble>> + Send + 'static,
    {
        let inner = Arc::clone(&self.inner);
        let begun = Instant::now();
        let until = begun + inner.place.deadline;
        let work = aws::aside(work(Arc::clone(&inner)));
        Box::pin(async move {
            let ended = match timeout_at(until, work).await {
                Ok(Ok(ended)) => ended,
                // A defect ends like a call that is never answered.
                Ok(Err(_)) | Err(_) => Err(inner.slow()),
            };
            match ended {
                Ok(value) => {
                    inner.watch.ended(Ok(begun.elapsed()));
                    value
                }
                Err(trouble) => {
                    inner.watch.ended(Err(trouble));
                    late
                }
            }
        })
    }
}

impl Inner {
    fn slow(&self) -> Trouble {
        Trouble::Slow { ms: u64::try_from(self.place.deadline.as_millis()).unwrap_or(u64::MAX) }
    }

    fn trouble(&self, error: &Error) -> Trouble {
        match error.kind {
            Kind::Timeout => self.slow(),
            _ => Trouble::Aws { cause: error.to_string() },
        }
    }

    async fn aws(&self) -> Result<&Aws, Trouble> {
        let settings = aws::within(&self.place.settings, self.place.deadline);
        let opened = self.aws.get_or_try_init(|| Aws::open(settings)).await;
        opened.map_err(|error| self.trouble(&error))
    }

    async fn read(&self) -> Result<ReadResult, Trouble> {
        let view = self.look().await?;
        Ok(view.record?.map_or(ReadResult::Absent, ReadResult::Found))
    }

    /// One consistent look, with the own proof left and the pair's id kept.
    async fn look(&self) -> Result<View, Trouble> {
        let aws = self.aws().await?;
        let store = store_id(&aws.region().name, &self.place.table);
        let (table, id) = (&self.place.table, self.shape.id());
        let found = aws.item(table, &id).await.map_err(|error| self.trouble(&error))?;
        let mut view = self.shape.view(found.as_ref(), store);
        if view.own != Some(self.own) {
            let (name, own) = (Shape::proof(self.place.node), self.own.to_string());
            let left = aws.note(table, &id, (&name, &own), false).await;
            view = self.shape.view(Some(&left.map_err(|error| self.trouble(&error))?), store);
        }
        let pair = self.watch.with(|shared| {
            shared.health.own_nonce = Some(self.own);
            shared.pair
        });
        let kept = self.keeper.get().await?;
        let mut proved = view.judge(pair, kept)?;
        if proved == Proved::Unnamed {
            // The node that comes second takes the id of the first.
            let left = aws.note(table, &id, (PAIR, &self.own.to_string()), true).await;
            view = self.shape.view(Some(&left.map_err(|error| self.trouble(&error))?), store);
            proved = view.judge(pair, kept)?;
        }
        match proved {
            Proved::Pair(pair) => {
                self.keeper.put(Kept { pair, store }).await?;
                Ok(view)
            }
            Proved::Unnamed => Err(Trouble::OtherPair),
        }
    }

    async fn swap(&self, expected: Option<Version>, next: Record) -> Result<SwapResult, Trouble> {
        if next.cluster != self.shape.cluster || next.group != self.shape.group {
            return Err(Trouble::ForeignRecord);
        }
        let bytes = next.encode().map_err(|error| match error {
            RecordError::TooLong { bytes } => {
                Trouble::TooLong { bytes: u64::try_from(bytes).unwrap_or(u64::MAX) }
            }
            _ => Trouble::Damaged { version: next.version },
        })?;
        let view = self.look().await?;
        // Whether an earlier copy of this request took effect, or another's did, shows here.
        if let Some(known) = view.outcome(&next)? {
            return Ok(known);
        }
        let found = view.version();
        if found != expected || next.version.0 != expected.map_or(1, |e| e.0 + 1) {
            let persisted = expected.unwrap_or(next.version);
            return Err(Trouble::RolledBack { found, persisted });
        }
        match self.send(&view, &next, &bytes).await {
            Ok(known) => Ok(known),
            Err(Sent::Refused(trouble)) => Err(trouble),
            // A look that shows neither says nothing: the request may land later (R4).
            Err(Sent::Open(trouble)) => match self.look().await {
                Ok(view) => view.outcome(&next)?.ok_or(trouble),
                Err(_) => Err(trouble),
            },
        }
    }

    /// Sends the write once.
    async fn send(&self, view: &View, next: &Record, bytes: &[u8]) -> Result<SwapResult, Sent> {
        let Some(pair) = view.pair else { return Err(Sent::Refused(Trouble::OtherPair)) };
        let aws = self.aws().await.map_err(Sent::Refused)?;
        let now = view.record.as_ref().ok().and_then(Option::as_ref);
        let seen = now.map(|record| (record.version.0, record.nonce.to_string()));
        let (pair, nonce) = (pair.to_string(), next.nonce.to_string());
        let swap = Swap {
            seen: seen.as_ref().map(|(version, nonce)| Seen { version: *version, nonce }),
            guard: (PAIR, &pair),
            next: Seen { version: next.version.0, nonce: &nonce },
            record: bytes,
        };
        match aws.swap(&self.place.table, &self.shape.id(), swap).await {
            Ok(Swapped::Won) => Ok(SwapResult::Won),
            Ok(Swapped::Lost(item)) => {
                let now = self.shape.view(Some(&item), view.store);
                match now.outcome(next) {
                    Ok(Some(known)) if now.pair == view.pair => Ok(known),
                    Ok(_) => {
                        let persisted = view.version().unwrap_or(next.version);
                        Err(Sent::Refused(Trouble::RolledBack { found: now.version(), persisted }))
                    }
                    Err(trouble) => Err(Sent::Refused(trouble)),
                }
            }
            Err(error) if error.outcome_is_unknown() => Err(Sent::Open(self.trouble(&error))),
            Err(error) => Err(Sent::Refused(self.trouble(&error))),
        }
    }
}

/// Why a write has no outcome.
enum Sent {
    /// It had no effect and will have none.
    Refused(Trouble),
    /// It may have had its effect, or may yet have it.
    Open(Trouble),
}

impl Arbiter for Dynamodb {
    fn read(&self) -> Pending<ReadResult> {
        self.call(ReadResult::Failed, |inner| async move { inner.read().await })
    }

    fn swap(&self, expected: Option<Version>, next: Record) -> Pending<SwapResult> {
        self.call(SwapResult::Unknown, move |inner| async move { inner.swap(expected, next).await })
    }

    fn tell(&self, pair: PairView) {
        self.inner.watch.with(|shared| shared.pair = pair);
    }

    fn health(&self) -> Health {
        self.inner.watch.with(|shared| shared.health.clone())
    }
}
