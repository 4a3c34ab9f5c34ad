//! Loss of ownership: the fast fence, then the orderly clean-up (R13).
//! Always: kills go out in the turn in which the loss is seen; what is not confirmed within FENCE
//! leads to the final action.

use super::event::{Act, Around, Loss, Note, Part, Refused, Step};
use super::state::{Power, State};
use super::{ENGINE_PATIENCE, Group};
use crate::decide::mutant::Mutant;
use lockstep_engine::units::Tick;

impl Group {
    /// Kills everything when this node must not run the group any more.
    pub(super) fn fence_if_lost(&mut self, around: &Around, now: Tick) {
        if !self.state.is_online() {
            return;
        }
        if let Some(why) = self.loss(around) {
            return self.lose(why, now);
        }
        // The engine stays away: the peer can't take over while this node is heard, so it is given
        // up, if there is somebody to have it.
        let Some(since) = self
            .engines_away_since
            .filter(|_| around.both && around.peer_takes && around.part == Part::Takes)
        else {
            return;
        };
        let at = since.after(ENGINE_PATIENCE);
        if now >= at {
            return self.lose(Loss::EngineAway, now);
        }
        self.wake_at(at);
    }

    pub(super) fn lose(&mut self, why: Loss, now: Tick) {
        self.note(Note::Lost(why));
        self.last_loss = Some(why);
        self.begin_fence(now);
    }

    /// Kills what may be on. Nothing is known to be: nobody is told of a loss.
    pub(super) fn begin_fence(&mut self, now: Tick) {
        self.answer(Err(Refused::Lost));
        self.fence_confirmed = false;
        self.fence_late = false;
        self.engines_quiet = false;
        for resource in &mut self.resources {
            resource.bounce = false;
            resource.given_up = false;
            resource.retry_at = now;
        }
        self.enter(State::Fencing, now);
    }

    pub(super) fn fence(&mut self, around: &Around, now: Tick) {
        // One that may serve again has no client of a lost lease left, or has none at all.
        self.engines_quiet |= around.silent || self.may_run(around);
        let mut gone = true;
        for index in self.ours() {
            if !self.is_killed_by_fence(index) {
                continue;
            }
            let resource = &self.resources[index];
            let (power, retry_at) = (resource.power, resource.retry_at);
            if power == Power::Off {
                continue;
            }
            gone = false;
            if let Power::Busy(id) = power
                && self.calls.get(&id).is_some_and(|call| call.act == Act::Kill)
            {
                continue;
            }
            if now < retry_at {
                self.wake_at(retry_at);
                continue;
            }
            self.act(index, Act::Kill, now);
        }
        let late = now >= self.entered.after(self.times.fence);
        let unseen = late && Mutant::PassUnconfirmedFence.on(); // R13
        if (gone && self.engines_quiet) || unseen {
            self.fence_confirmed = true;
            self.note(Note::FenceConfirmed);
            return self.enter(State::Cleaning, now);
        }
        let at = self.entered.after(self.times.fence);
        if now < at {
            return self.wake_at(at);
        }
        if !self.fence_late {
            self.fence_late = true;
            self.note(Note::FenceLate);
            self.steps.push_back(Step::Condemn);
        }
    }

    /// What the fence has left goes down in order; what does not is tried again and again.
    pub(super) fn clean(&mut self, _around: &Around, now: Tick) {
        let set: Vec<usize> = self.ours().collect();
        if self.take_down(&set, now) {
            self.enter(State::Down, now);
        }
    }
}
