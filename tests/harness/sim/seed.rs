//! One seed: a plan drawn from it, a phase of faults, then healing and the proof of liveness.

use super::chaos::{Fault, KINDS};
use super::group::GroupPlan;
use super::judge::index;
use super::random::Random;
use super::theme::Theme;
use super::world::{Plan, What, World};
use lockstep_engine::limits::Times;
use lockstep_engine::replica::settings::AckMode;
use lockstep_engine::units::{BLOCKS_PER_REGION, Members, Mirror, NodeId, Span};

/// After healing, both copies must be equal and in use within this.
const RECOVERY: Span = Span::millis(300_000);

/// What became of a seed.
#[derive(Debug)]
pub struct Outcome {
    /// Client operations answered.
    pub operations: u64,
    /// Faults.
    pub faults: u64,
    /// The first violation.
    pub violation: Option<String>,
    /// How it ended, when there was no violation.
    pub ending: Ending,
    /// Why it had to end with a force, or lost.
    pub cause: Option<String>,
    /// What happened, when it was asked for.
    pub trace: Vec<String>,
}

/// How a seed ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// Both copies equal, every acknowledged write on both.
    Equal,
    /// The same, but the operator had to force a copy after every better one was destroyed: what it
    /// missed is lost, and the judge started over.
    Forced,
    /// Disk faults destroyed every copy: nothing to force.
    Lost,
}

impl Plan {
    /// The plan of a seed.
    pub fn random(seed: u64) -> Plan {
        let mut random = Random::new(seed ^ 0x5eed);
        let regions = if random.chance(150) { 80 } else { 16 };
        let blocks = regions * BLOCKS_PER_REGION;
        let mut working = Vec::new();
        let places = random.within(2, if regions > 16 { 40 } else { 6 });
        for _ in 0..places {
            let region = random.below(regions);
            let inside = if random.chance(300) { 1020 } else { random.below(1000) };
            let count = random.within(1, if regions > 16 { 3 } else { 16 });
            let first = region * BLOCKS_PER_REGION + inside;
            working.extend((first..first + count).filter(|block| *block < blocks));
        }
        // Swarm: each seed has its own mix of faults, so that rare pairs meet often.
        let mut odds = Vec::new();
        for (_, weight) in KINDS {
            let scale = [0, 0, 1, 1, 4][random.index(5)];
            odds.push(weight * scale);
        }
        odds[0] += 1;
        let ack = if random.chance(150) { AckMode::Received } else { AckMode::Written };
        let times = Times { suspend_max: Some(Span::millis(20_000)), ..Times::DEFAULT };
        let plan = Plan {
            seed,
            blocks,
            working,
            intent_regions: 64,
            ack,
            sync_digests: random.chance(500),
            times,
            intent_idle: Span::millis([300, 1_000, 5_000][random.index(3)]),
            sync_window: [1, 4, 64][random.index(3)],
            auto_takeover: random.chance(850),
            serials: random.chance(500),
            patience: Span::millis([500, 3_000, 9_000, 9_000][random.index(4)]),
            jitter: true,
            clients: true,
            trace: false,
            theme: Theme::random(&mut random),
            odds,
            calm: [300_000_000, 1_000_000_000, 3_000_000_000, 8_000_000_000][random.index(4)],
            lag: random.chance(150).then_some(1),
            marks_kept: random.chance(500),
            group: None,
        };
        plan.with_group()
    }

    /// The same plan, with the group of its seed, if it has one.
    fn with_group(self) -> Plan {
        let group = GroupPlan::of_seed(self.seed, self.auto_takeover);
        let patience = match &group {
            // Most of it should come by itself.
            Some(_) => Span(self.patience.0 * 5),
            None => self.patience,
        };
        Plan { group, patience, ..self }
    }

    /// One line that says what the plan is.
    pub fn line(&self) -> String {
        let odds: Vec<String> = KINDS
            .iter()
            .zip(&self.odds)
            .filter(|(_, odds)| **odds > 0)
            .map(|((name, _), odds)| format!("{name}={odds}"))
            .collect();
        format!(
            "seed {}: {:?}, {:?}, {} regions, {} working blocks, digests {}, idle {} ms, \
             window {}, auto {}, marks kept {}, calm {} ms, {}{}",
            self.seed,
            self.ack,
            self.theme,
            self.blocks / BLOCKS_PER_REGION,
            self.working.len(),
            self.sync_digests,
            self.intent_idle.as_millis(),
            self.sync_window,
            self.auto_takeover,
            self.marks_kept,
            self.calm / 1_000_000,
            odds.join(" "),
            self.group.as_ref().map_or(String::new(), |group| format!("; {}", group.words()))
        )
    }
}

/// Runs one seed.
pub fn run(seed: u64, trace: bool) -> Outcome {
    let plan = Plan { trace, ..Plan::random(seed) };
    let mut world = World::new(plan);
    world.say(|| "begin".to_owned());
    world.queue.after(Span(0), What::PowerOn { node: NodeId::A });
    let later = world.delay_us(0, 500_000);
    world.queue.after(later, What::PowerOn { node: NodeId::B });
    world.queue.after(Span::millis(1_500), What::OperatorTick);
    let quiet = world.delay_us(2_000_000, 6_000_000);
    world.queue.after(quiet, What::Chaos);
    let safety = world.delay_us(15_000_000, 45_000_000);
    world.run(safety);
    world.heal();
    world.prove_liveness();
    world.finish()
}

impl World {
    /// Ends all faults for good.
    pub fn heal(&mut self) {
        self.healed = true;
        self.healed_at = self.now();
        self.say(|| "heal".to_owned());
        for node in [NodeId::A, NodeId::B] {
            for fault in [
                Fault::SlowDisk(node),
                Fault::ReadErrors(node),
                Fault::WriteErrors(node),
                Fault::MetaErrors(node),
            ] {
                self.device(fault, false);
            }
            self.network(Fault::Isolate(node), false);
            self.network(Fault::ArbiterLate(node), false);
            self.arbiter.lose_replies[index(node)] = 0;
            let host = self.host(node);
            host.disk.bad_blocks.clear();
            host.wants_engine = true;
            host.wants_daemon = true;
            self.power_on(node);
            self.queue.after(Span::millis(100), What::EngineStart { node });
            self.queue.after(Span::millis(100), What::DaemonStart { node });
        }
        self.network(Fault::SlowLink, false);
        self.network(Fault::ArbiterDown, false);
        self.arbiter.roll_forward();
        self.pause_sync(false);
        self.plan.auto_takeover = true;
        self.heal_group();
    }

    /// P5: both copies equal, one node serving, within bounded time.
    pub fn prove_liveness(&mut self) {
        let until = self.now().after(RECOVERY).after(self.group_patience());
        let done = |world: &World| world.in_sync() && world.is_repaired() && world.group_is_up();
        while self.judge.violation.is_none() && !done(self) {
            if self.now() >= until {
                if self.last_copy_lost() && self.way_out().is_none() {
                    self.ending = Ending::Lost;
                    self.cause = Some(self.why_none());
                    return;
                }
                let text = format!("P5: not in sync {} after healing", self.describe());
                self.judge.violate(text);
                return;
            }
            self.run(Span::millis(500));
        }
        self.run(Span::millis(3_000));
        self.plan.clients = false;
        self.run(Span::millis(20_000));
        if self.judge.violation.is_none() && !self.in_sync() {
            let text = format!("P5: fell out of sync without a fault: {}", self.describe());
            self.judge.violate(text);
        } else if self.judge.violation.is_none() && !self.group_is_up() {
            let text = format!("(c): not up without a fault: {}", self.describe());
            self.judge.violate(text);
        }
        self.final_checks();
    }

    /// Nothing is left for the operator to repair.
    fn is_repaired(&self) -> bool {
        self.hosts.iter().all(|host| !host.broken)
    }

    fn final_checks(&mut self) {
        if self.judge.violation.is_some() {
            return;
        }
        let [a, b] = &self.hosts;
        self.judge.holds_all("P1 (at the end)", NodeId::A, &a.disk);
        self.judge.holds_all("P1 (at the end)", NodeId::B, &b.disk);
        self.judge.differing_are_marked([&a.disk, &b.disk], &|_| false, "at the end, in sync");
        for node in [NodeId::A, NodeId::B] {
            let Some(engine) = self.hosts[index(node)].engine.as_ref() else { continue };
            let (requests, bufs) = (engine.requests.len(), engine.bufs.len());
            if requests > 0 {
                self.judge.violate(format!("P6: node {node}: {requests} requests never answered"));
            } else if bufs > 0 {
                self.judge.violate(format!("node {node}: {bufs} buffers never freed"));
            }
        }
    }

    /// Members both, one node serving, and its engine says that both copies are equal.
    pub fn in_sync(&self) -> bool {
        let serving = [NodeId::A, NodeId::B].into_iter().filter(|node| self.serves(*node));
        let serving: Vec<NodeId> = serving.collect();
        let [node] = serving[..] else { return false };
        let host = &self.hosts[index(node)];
        self.members() == Members::BOTH
            && host
                .engine
                .as_ref()
                .is_some_and(|engine| engine.replica.status().mirror == Mirror::InSync)
    }

    /// Where both nodes stand, for reports.
    pub fn describe(&self) -> String {
        let mut text = format!("members {:?}", Vec::<NodeId>::from(self.members()));
        if let Some(record) = &self.arbiter.record {
            text += &format!(" v{} owner {:?}", record.version.0, record.owner);
        }
        for host in &self.hosts {
            text += &match (&host.engine, &host.refused) {
                (Some(engine), _) => {
                    let s = engine.replica.status();
                    format!(
                        "; {}: {:?} {:?} {:?} link {:?} need {:?} dirty {} hot {} reconcile {} \
                         mark {} attempts {} v{:?} open {} full {} split {}",
                        host.node,
                        s.role,
                        s.disk,
                        s.mirror,
                        s.link,
                        s.need,
                        s.dirty_blocks,
                        s.hot_regions,
                        s.reconcile_pending,
                        s.mark.is_some(),
                        s.attempts.len(),
                        s.record.map(|record| record.version.0),
                        engine.open,
                        s.needs_full,
                        s.split_brain,
                    )
                }
                (None, Some(why)) => format!("; {}: refused: {why}", host.node),
                (None, None) => format!("; {}: no engine", host.node),
            };
        }
        text + &self.describe_group()
    }

    /// What became of the run.
    pub fn finish(self) -> Outcome {
        let violation = self.judge.violation.map(|text| format!("{text}\n  {}", self.plan.line()));
        Outcome {
            operations: self.judge.operations,
            faults: self.faults,
            violation,
            ending: self.ending,
            cause: self.cause,
            trace: self.trace,
        }
    }
}
