//! `mirror discard-local`: both copies went on alone, and an operator gives up the one here.
//! Always: nothing is given up unless the other side is known to be there and to count itself;
//! first the engines forget, for good, then the record of the other side is taken, so that a crash
//! in between leaves a split and the verb can be asked again. While that goes on nothing is decided
//! here for the group; afterwards the daemon is opened anew, because its deciders know a history
//! that is no more.

use super::requests::{Asker, refuse, tell};
use super::{Daemon, End};
use crate::act::arbiter::Trouble;
use crate::act::arbiter::none::Split;
use crate::act::clock;
use crate::act::engine::CallEnd;
use crate::act::events::Weight;
use crate::api::control::{Refusal, Tell};
use crate::decide::settings::GroupIndex;
use crate::decide::step::EngineCommand;
use lockstep_engine::admin;
use lockstep_engine::units::{Span, Tick};
use tokio::sync::oneshot;

/// Effects on resources may take this long to end before the daemon is opened anew.
const REST_MAX: Span = Span::millis(5_000);

/// How far a group is with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Discarding {
    /// Nothing.
    No,
    /// Nothing is decided for this group.
    Of(GroupIndex),
    /// It has ended: the daemon is opened anew, at that tick at the latest.
    Over(Tick),
}

/// What a task has found or done.
#[derive(Debug)]
pub(super) enum Stage {
    /// What the two registers hold; `None` where a store outside the pair has the word.
    Looked(Result<Option<Box<Split>>, Trouble>),
    /// The engines have forgotten, and the record of the other side is here.
    Done(Result<(), String>),
}

impl Daemon {
    /// Whether both copies of the group went on alone, as far as this node has seen.
    pub(super) fn is_split(&self, group: GroupIndex) -> bool {
        let parted = self.slots_of(group).any(|(_, slot)| slot.shown.parted.is_some());
        parted || self.records_split(group)
    }

    /// Whether the records of both nodes have grown apart.
    pub(super) fn records_split(&self, group: GroupIndex) -> bool {
        let health = self.stores.get(group.0).map(|store| store.arbiter.health());
        health.is_some_and(|health| matches!(health.trouble, Some(Trouble::SplitBrain { .. })))
    }

    /// An operator gives up the copies of a group here.
    pub(super) fn discard_local(&mut self, place: usize, asker: Asker) {
        let group = self.slots[place].group;
        let volume = self.view.engines[place].config.volume.name.clone();
        let (node, peer) = (self.view.node, self.view.node.peer());
        let no = |code: &str, why: String| Refusal {
            code: code.to_owned(),
            message: format!("volume {volume}: {why}"),
        };
        let away = self.slots_of(group).any(|(_, slot)| slot.build.is_none());
        let named = self.node.decider(group).and_then(|decider| decider.view().record);
        let counts = named.is_some_and(|record| record.is_member(node));
        let own = self.stores.get(group.0).and_then(|store| store.own.clone());
        let refusal = if self.discarding != Discarding::No {
            Some(no("busy", "a copy is being given up already; wait for it".to_owned()))
        } else if away {
            Some(self.engine_away(group))
        } else if !self.is_split(group) {
            let why = "the copies have not gone on apart as far as this node has seen, so there is \
                       nothing to give up; see `lockstep mirror status`";
            Some(no("not-parted", why.to_owned()))
        } else if own.is_none() && counts {
            let why = format!(
                "the arbiter's record names this copy as the one that counts; run it on node {peer}"
            );
            Some(no("counts", why))
        } else {
            None
        };
        if let Some(refusal) = refusal {
            return tell_refusal(&asker, refusal);
        }
        self.discarding = Discarding::Of(group);
        let ends = self.ends.clone();
        tokio::spawn(async move {
            let looked = match own {
                Some(own) => own.register.split().await.map(|split| split.map(Box::new)),
                None => Ok(None),
            };
            // The receiver lives as long as the daemon.
            let _ = ends.send(End::Discard { group, asker, stage: Stage::Looked(looked) }).await;
        });
    }

    /// A stage has ended.
    pub(super) fn discard_stage(&mut self, group: GroupIndex, asker: Asker, stage: Stage) {
        match stage {
            Stage::Looked(looked) => match self.against_discard(group, looked) {
                Some(refusal) => {
                    self.discarding = Discarding::No;
                    tell_refusal(&asker, refusal);
                }
                None if asker.dry_run => {
                    self.discarding = Discarding::No;
                    tell(&asker.to, Tell::Plan { refused: None, steps: self.discard_steps(group) });
                }
                None => self.discard_now(group, asker),
            },
            Stage::Done(ended) => {
                self.discarding = Discarding::Over(clock::now().after(REST_MAX));
                let name = self.group_name(group);
                match ended {
                    Ok(()) => {
                        let peer = self.view.node.peer();
                        let message = format!(
                            "group {name}: the copy here was given up by an operator; it is filled \
                             from node {peer}"
                        );
                        self.tell(Weight::Warning, "copy-discarded", Some(&name), message);
                        tell(&asker.to, Tell::Done);
                    }
                    Err(cause) => {
                        let why = format!(
                            "group {name}: {cause}; the copy here may be given up in part: ask \
                             again"
                        );
                        refuse(&asker.to, "engine-away", why);
                    }
                }
            }
        }
    }

    /// What the two registers say against it.
    fn against_discard(
        &self,
        group: GroupIndex,
        looked: Result<Option<Box<Split>>, Trouble>,
    ) -> Option<Refusal> {
        let (name, peer) = (self.group_name(group), self.view.node.peer());
        let (code, why) = match looked {
            Err(trouble) => (
                "peer-not-ready",
                format!("the copy of node {peer} must be there to be taken instead: {trouble}"),
            ),
            Ok(Some(split)) if split.theirs.as_ref().is_none_or(|one| !one.is_member(peer)) => {
                ("counts", format!("the record of node {peer} does not name its own copy"))
            }
            Ok(_) => return None,
        };
        Some(Refusal { code: code.to_owned(), message: format!("group {name}: {why}") })
    }

    fn discard_steps(&self, group: GroupIndex) -> Vec<String> {
        let (node, peer) = (self.view.node, self.view.node.peer());
        let name = self.group_name(group);
        let mut steps = vec![format!("end what runs of group {name} on node {node}")];
        for (place, _) in self.slots_of(group) {
            let volume = &self.view.engines[place].config.volume.name;
            steps.push(format!("give up the copy of volume {volume} on node {node}, for good"));
        }
        steps.push(format!("take the record of node {peer}, and be filled whole from it"));
        steps
    }

    fn discard_now(&self, group: GroupIndex, asker: Asker) {
        let calls: Vec<(String, oneshot::Receiver<CallEnd>)> = self
            .slots_of(group)
            .map(|(place, slot)| {
                let volume = self.view.engines[place].config.volume.name.clone();
                (volume, slot.engine.call(admin::Verb::Discard))
            })
            .collect();
        let own = self.stores.get(group.0).and_then(|store| store.own.clone());
        let ends = self.ends.clone();
        tracing::warn!(?group, "an operator gives up the copies here");
        tokio::spawn(async move {
            let done = async {
                for (volume, call) in calls {
                    match call.await.unwrap_or(CallEnd::Gone) {
                        CallEnd::Done(_) => {}
                        CallEnd::Refused(why) => {
                            return Err(format!("volume {volume}: {}", why.message));
                        }
                        CallEnd::Gone => {
                            return Err(format!("volume {volume}: its engine is gone"));
                        }
                    }
                }
                match own {
                    Some(own) => match own.register.discard_local().await {
                        Ok(_) => Ok(()),
                        Err(trouble) => Err(trouble.to_string()),
                    },
                    None => Ok(()),
                }
            };
            let stage = Stage::Done(done.await);
            let _ = ends.send(End::Discard { group, asker, stage }).await;
        });
    }

    /// Whether the decider of a group may carry this out now.
    pub(super) fn may_command(&self, group: GroupIndex, command: &EngineCommand) -> bool {
        self.may_write(group) || *command == EngineCommand::Fence
    }

    /// Whether the record of a group may be written by its decider now.
    pub(super) fn may_write(&self, group: GroupIndex) -> bool {
        match self.discarding {
            Discarding::No => true,
            Discarding::Of(of) => of != group,
            Discarding::Over(_) => false,
        }
    }

    /// Whether the daemon is to be opened anew now.
    pub(super) fn is_outlived(&self, now: Tick) -> bool {
        match self.discarding {
            Discarding::Over(latest) => self.effects.is_idle() || now >= latest,
            _ => false,
        }
    }
}

fn tell_refusal(asker: &Asker, refusal: Refusal) {
    let line = match asker.dry_run {
        true => Tell::Plan { refused: Some(refusal), steps: Vec::new() },
        false => Tell::Refused(refusal),
    };
    tell(&asker.to, line);
}
