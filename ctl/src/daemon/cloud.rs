//! What addresses of AWS need of the daemon: the way there, the record as their right to change
//! anything, and a second look after they were taken.
//! Always: the right is that of the epoch in which the effect was ordered; what follows a start
//! ends with the next effect on the same resource.

use super::{Daemon, End};
use crate::act::arbiter::Arbiter;
use crate::act::aws::cloud::Right;
use crate::act::aws::moves::Mover;
use crate::act::clock;
use crate::act::resource::spec::Spec;
use crate::act::resource::{Context, Failure, State};
use crate::config::cluster::NodeView;
use crate::decide::event::{ReadResult, StepId};
use crate::decide::group::{Act, Outcome};
use crate::decide::settings::{GroupIndex, ResourceIndex};
use lockstep_engine::units::{Epoch, NodeId, Tick};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// The record of a group, as the right of one node in one epoch.
struct Recorded {
    arbiter: Arc<dyn Arbiter>,
    node: NodeId,
    epoch: Option<Epoch>,
}

impl Right for Recorded {
    fn holds(&self) -> Pin<Box<dyn Future<Output = bool> + Send + 'static>> {
        let (node, epoch) = (self.node, self.epoch);
        let reading = self.arbiter.read();
        Box::pin(async move {
            match reading.await {
                ReadResult::Found(record) => {
                    record.owner == Some(node) && Some(record.epoch) == epoch
                }
                ReadResult::Absent | ReadResult::Failed => false,
            }
        })
    }
}

/// The mover of a node's addresses, if it has any, or looks at AWS in another way.
#[cfg(feature = "aws")]
pub(super) fn mover(view: &NodeView) -> Option<Mover> {
    use crate::act::aws::{RealWay, settings};
    use crate::config::cluster::needs_aws;
    if needs_aws(view).is_empty() {
        return None;
    }
    let specs = view.groups.iter().flat_map(|group| &group.specs);
    let mover = Mover::new(Arc::new(RealWay::new(settings(&view.aws))), specs);
    let warm = mover.clone();
    tokio::spawn(async move { warm.warm_up().await });
    Some(mover)
}

/// There is none in this build.
#[cfg(not(feature = "aws"))]
pub(super) fn mover(_: &NodeView) -> Option<Mover> {
    None
}

/// One effect on an address of AWS.
pub(super) struct Moving {
    mover: Mover,
    right: Recorded,
    spec: Spec,
    context: Context,
}

impl Daemon {
    /// What moves this resource, when it is an address of AWS.
    pub(super) fn moving(
        &self,
        group: GroupIndex,
        spec: &Spec,
        context: &Context,
    ) -> Option<Moving> {
        let mover = self.effects.mover.clone().filter(|_| Mover::is_for(spec))?;
        let view = self.node.view(clock::now());
        let record = view.groups.get(group.0).and_then(|one| one.arbitration.record.as_ref());
        let epoch = record.filter(|one| one.owner == Some(self.view.node)).map(|one| one.epoch);
        let arbiter = Arc::clone(&self.stores.get(group.0)?.arbiter);
        let right = Recorded { arbiter, node: self.view.node, epoch };
        Some(Moving { mover, right, spec: spec.clone(), context: context.clone() })
    }

    /// Does something to an address of AWS, after `before` has ended; after a start it looks again.
    pub(super) fn move_address(
        &self,
        (group, id, resource): (GroupIndex, StepId, ResourceIndex),
        moving: Moving,
        act: Act,
        deadline: Tick,
        before: Option<tokio::task::JoinHandle<()>>,
    ) -> tokio::task::JoinHandle<()> {
        let ends = self.ends.clone();
        tokio::spawn(async move {
            if let Some(before) = before {
                before.abort();
                // Its end is what matters, not how it ended.
                let _ = before.await;
            }
            let outcome = moving.carry_out(act, deadline).await;
            let taken = act == Act::Start && outcome == Outcome::On;
            tracing::debug!(?group, ?resource, ?act, ?outcome, "address of AWS");
            // The receiver lives as long as the daemon.
            let _ = ends.send(End::Resource { group, id, outcome }).await;
            if taken {
                moving.mover.again(&moving.spec, &moving.right, &moving.context).await;
            }
        })
    }
}

impl Moving {
    async fn carry_out(&self, act: Act, deadline: Tick) -> Outcome {
        let Moving { mover, right, spec, context } = self;
        let failed = |failure: Failure| Outcome::Failed(failure.to_string());
        match act {
            Act::Check => match mover.check(spec, context, deadline).await {
                Ok(State::On) => Outcome::On,
                Ok(State::Off) => Outcome::Off,
                Ok(State::Broken(cause)) => Outcome::Failed(cause),
                Err(failure) => failed(failure),
            },
            Act::Start => mover
                .start(spec, right, context, deadline)
                .await
                .map_or_else(failed, |()| Outcome::On),
            Act::Stop => mover
                .stop(spec, right, context, deadline)
                .await
                .map_or_else(failed, |()| Outcome::Off),
            Act::Kill => crate::act::resource::kill(spec, context, deadline)
                .await
                .map_or_else(failed, |()| Outcome::Off),
        }
    }
}
