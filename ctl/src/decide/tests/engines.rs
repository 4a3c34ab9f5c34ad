//! Toy engines of one node: they carry out commands at once and keep what real ones persist, one
//! for each volume of the group; a group without volumes has its production keeper instead.
//! How many volumes a world has is set for a whole test, so that every story can be told of each.

use super::toy::{CLUSTER, GROUP, VOLUME, blank, follow, learn, promote, shown};
use crate::decide::event::Event;
use crate::decide::keeper::{Keeper, Kept, seat_of};
use crate::decide::record::Record;
use crate::decide::step::EngineCommand;
use lockstep_engine::units::{
    BootId, DiskState, InSyncMark, NodeId, Role, StartId, Status, Tick, VolumeId, VolumeRecord,
};
use std::cell::Cell;

thread_local! {
    static VOLUMES: Cell<u128> = const { Cell::new(1) };
}

/// Tells a story of a group with that many volumes.
pub fn with_volumes(count: u128, story: impl FnOnce()) {
    VOLUMES.set(count);
    story();
    VOLUMES.set(1);
}

/// Tells each of these stories; gives those that do not hold.
pub fn failing(count: u128, stories: &[(&'static str, fn())]) -> Vec<&'static str> {
    let holds = |story: fn()| std::panic::catch_unwind(|| with_volumes(count, story)).is_ok();
    let failed = stories.iter().filter(|(_, story)| !holds(*story)).map(|(name, _)| *name);
    let failed = failed.collect();
    VOLUMES.set(1);
    failed
}

/// Volumes of the group that the test is about.
pub fn volumes() -> Vec<VolumeId> {
    (0..VOLUMES.get()).map(|n| VolumeId(VOLUME.0 + n)).collect()
}

/// What its record has entries for.
pub fn entries() -> Vec<VolumeId> {
    let volumes = volumes();
    if volumes.is_empty() { vec![seat_of(GROUP)] } else { volumes }
}

/// A record that says the same of every volume.
pub fn record_of(seen: &VolumeRecord) -> Record {
    let parts: Vec<_> = entries().into_iter().map(|volume| (volume, *seen)).collect();
    Record::of_parts(CLUSTER, GROUP, seen, &parts)
}

/// One engine.
#[derive(Clone)]
pub struct Toy {
    pub status: Status,
    pub up: bool,
    /// Number of the last write on this disk.
    pub data: u64,
    last_sent: Option<Status>,
    /// File and process of a keeper.
    kept: Kept,
    keeper: Option<Keeper>,
}

/// The engines of one node.
#[derive(Clone)]
pub struct Toys {
    node: NodeId,
    pub all: Vec<Toy>,
    seat: bool,
}

impl Toys {
    pub fn new(node: NodeId) -> Toys {
        let toy = |volume| Toy {
            status: Status { volume, ..blank(node) },
            up: true,
            data: 0,
            last_sent: None,
            kept: Kept::default(),
            keeper: None,
        };
        let all = entries().into_iter().map(toy).collect();
        Toys { node, all, seat: volumes().is_empty() }
    }

    pub fn boot(&self) -> BootId {
        self.all[0].status.boot
    }

    /// Whether all are there.
    pub fn up(&self) -> bool {
        self.all.iter().all(|toy| toy.up)
    }

    /// Primary when all are, secondary when all are.
    pub fn role(&self) -> Role {
        let all = |role| self.all.iter().all(|toy| toy.status.role == role);
        match (all(Role::Primary), all(Role::Secondary)) {
            (true, _) => Role::Primary,
            (_, true) => Role::Secondary,
            _ => Role::Promoting,
        }
    }

    pub fn any_serves(&self) -> bool {
        self.all.iter().any(|toy| toy.status.role == Role::Primary)
    }

    /// A daemon starts: it is told everything anew, and a keeper is a part of it.
    pub fn met(&mut self, start: StartId) {
        for toy in &mut self.all {
            toy.last_sent = None;
            if self.seat {
                let life = (toy.status.boot, start);
                let keeper = Keeper::open(self.node, GROUP, life, toy.kept.clone());
                toy.status = keeper.status();
                toy.keeper = Some(keeper);
                toy.up = true;
            }
        }
    }

    /// An engine dies, and its socket with it. A keeper dies with its daemon only.
    pub fn die(&mut self, index: usize) -> Option<Event> {
        let toy = &mut self.all[index];
        if self.seat || !toy.up {
            return None;
        }
        toy.up = false;
        toy.status.role = Role::Secondary;
        toy.status.silent = false;
        toy.status.mark = None;
        toy.status.need = None;
        toy.status.pong_sent = None;
        toy.status.peer_heard = None;
        toy.last_sent = None;
        Some(Event::EngineGone { volume: toy.status.volume })
    }

    /// The host loses its power.
    pub fn power_off(&mut self) {
        for toy in self.all.iter_mut().filter(|_| self.seat) {
            toy.status.role = Role::Secondary;
            toy.keeper = None;
        }
    }

    pub fn start(&mut self, index: usize, start: StartId) {
        let toy = &mut self.all[index];
        if !self.seat {
            toy.up = true;
            toy.status.start = start;
        }
    }

    pub fn booted(&mut self, boot: BootId) {
        self.all.iter_mut().for_each(|toy| toy.status.boot = boot);
    }

    /// Carries a command out; `None` when there is nobody to do so.
    pub fn command(
        &mut self,
        volume: VolumeId,
        command: EngineCommand,
        now: Tick,
    ) -> Option<Result<(), &'static str>> {
        let toy = self.all.iter_mut().find(|toy| toy.status.volume == volume && toy.up)?;
        if self.seat {
            let keeper = toy.keeper.as_mut()?;
            let next = keeper.after(&command);
            return Some(next.map(|next| {
                toy.kept = next.kept().clone();
                toy.status = next.status();
                *keeper = next;
            }));
        }
        Some(carry_out(&mut toy.status, command, now))
    }

    /// What has changed since the daemon was told.
    pub fn news(&mut self, now: Tick) -> Vec<Event> {
        let mut news = Vec::new();
        for toy in self.all.iter_mut().filter(|toy| toy.up) {
            let shown = shown(&toy.status, now);
            if toy.last_sent.as_ref() != Some(&shown) {
                toy.last_sent = Some(shown);
                news.push(Event::Engine(Box::new(toy.status.clone())));
            }
        }
        news
    }

    /// Whether that version is closed or stored wherever it has to be before `record` is sent.
    pub fn may_send(&self, expected: u64, record: &Record) -> bool {
        let there = || self.all.iter().filter(|toy| toy.up);
        let closed = |toy: &Toy| toy.status.record.is_some_and(|seen| seen.version.0 > expected);
        let has = |toy: &Toy, nonce| {
            toy.status.attempts.iter().any(|attempt| {
                attempt.expected.0 == expected && nonce == Some(attempt.wanted.nonce)
            })
        };
        let wanted = there().any(|toy| has(toy, Some(record.nonce)));
        let any = there().flat_map(|toy| &toy.status.attempts).any(|a| a.expected.0 == expected);
        match wanted {
            // The wanted one: every engine has it.
            true => there().all(|toy| closed(toy) || has(toy, Some(record.nonce))),
            // One that closes it: whoever restarts finds what it closes.
            false => any || there().all(closed),
        }
    }
}

fn carry_out(engine: &mut Status, command: EngineCommand, now: Tick) -> Result<(), &'static str> {
    match command {
        EngineCommand::Learn(record) => learn(engine, record),
        EngineCommand::Promote(record) => promote(engine, record, now),
        EngineCommand::Demote => {
            engine.role = Role::Secondary;
            engine.primary_boot = BootId::NONE;
            Ok(())
        }
        EngineCommand::Fence => {
            engine.role = Role::Secondary;
            Ok(())
        }
        EngineCommand::Attempt(attempt) if engine.attempts.contains(&attempt) => Ok(()),
        EngineCommand::Attempt(_) if engine.attempts.len() >= 2 => Err("too-many-attempts"),
        EngineCommand::Attempt(attempt) => {
            engine.attempts.push(attempt);
            Ok(())
        }
        EngineCommand::PrepareTakeover => {
            engine.silent = true;
            Ok(())
        }
        EngineCommand::CancelTakeover => {
            engine.silent = false;
            Ok(())
        }
        EngineCommand::Mark(mark) => {
            let good = |mark: &InSyncMark| mark.boot == engine.boot;
            engine.mark = Some(mark).filter(good);
            Ok(())
        }
    }
}

/// The links of all volumes between two nodes, of which those in `cut` are down.
#[derive(Clone)]
pub struct Links {
    pub up: bool,
    pub cut: Vec<bool>,
    cut_at: Vec<u64>,
}

impl Links {
    pub fn new() -> Links {
        let count = entries().len();
        Links { up: true, cut: vec![false; count], cut_at: vec![0; count] }
    }

    /// What the engines make of them.
    pub fn carry(&mut self, [a, b]: [&mut Toys; 2], ms: u64, now: Tick) {
        if a.seat {
            return;
        }
        for index in 0..a.all.len() {
            let (a, b) = (&mut a.all[index], &mut b.all[index]);
            let up = self.up && !self.cut[index] && a.up && b.up;
            if up {
                self.cut_at[index] = ms;
            }
            let lost = !up && ms >= self.cut_at[index] + super::toy::LINK_LOST;
            let before = [a.status.clone(), b.status.clone()];
            let data = [a.data, b.data];
            if a.up && follow(&mut a.status, &before[1], up, lost, now) {
                a.data = data[1];
            }
            if b.up && follow(&mut b.status, &before[0], up, lost, now) {
                b.data = data[0];
            }
        }
    }

    /// Whether the engines of a volume could speak with each other.
    pub fn carries(&self, index: usize, [a, b]: [&Toys; 2]) -> bool {
        self.up && !self.cut[index] && a.all[index].up && b.all[index].up
    }

    /// All of them again.
    pub fn heal(&mut self) {
        self.up = true;
        self.cut.iter_mut().for_each(|cut| *cut = false);
    }
}

/// Whether the copy is one that failed for good.
pub fn is_failed(toys: &Toys) -> bool {
    toys.all.iter().any(|toy| toy.status.disk == DiskState::Failed)
}
