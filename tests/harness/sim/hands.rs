//! The resources of the simulated hosts: what is on, what is being done to it, what stands in the
//! way of it, what probes find, and what becomes of a host that is told to end.
//!
//! Fault model: an effect takes its time, fails, or never reports; a start that fails leaves its
//! resource on or off; a kill is confirmed or not; programs die by themselves. What a daemon had
//! under way when it died goes on: a start may end under the next daemon, which is told that
//! nobody knows. A later effect on a resource ends an earlier one first.

use super::group::{APP, G, HANDS, OF_APP, VIP};
use super::judge::index;
use super::world::{What, World};
use lockstep_ctl::decide::event::StepId;
use lockstep_ctl::decide::group::{Act, Outcome};
use lockstep_ctl::decide::monitor::Found;
use lockstep_ctl::decide::node::{Event, HostAction, Memory};
use lockstep_ctl::decide::settings::{MonitorIndex, ResourceIndex};
use lockstep_engine::units::{BootId, NodeId, Span, Tick};

/// What is wrong with a resource on one host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// Starts fail.
    Start,
    /// Stops fail.
    Stop,
    /// Neither kills nor stops are confirmed, and nothing ends: it waits in the kernel.
    Kill,
    /// Nothing reports; starts and stops have an effect or not.
    Hang,
    /// Everything but a kill takes long.
    Slow,
}

/// What a monitor finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Finding {
    /// What is there.
    #[default]
    Truth,
    /// An error.
    Wrong,
    /// It can't find out.
    NoAnswer,
    /// The probe never ends.
    Nothing,
}

/// How an effect ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Well,
    Fails,
    Silent,
}

/// An effect under way.
#[derive(Clone, Debug)]
struct Job {
    name: u64,
    run: u64,
    id: StepId,
    act: Act,
    end: End,
    /// A start that does not end well leaves it on.
    half: bool,
}

/// One resource on one host.
#[derive(Clone, Debug, Default)]
pub struct Hand {
    /// It is on.
    pub on: bool,
    /// What stands in the way.
    pub trouble: Option<Trouble>,
    job: Option<Job>,
    /// A start whose daemon has died.
    orphan: Option<Job>,
}

/// What a host has for its daemon, beside the engine.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    /// Resources, by their place in the group; the mirror's place is empty.
    pub hands: [Hand; 4],
    /// What the daemon has stored for the next one of the boot.
    pub memory: Memory,
    /// The lease that is stored for the next daemon.
    pub kept: Option<Tick>,
    /// The lease that is being stored.
    pub keeping: Option<Option<Tick>>,
    /// What the monitors find.
    pub findings: [Finding; 2],
    /// The host does not do as it is told.
    pub refuses: bool,
    /// When the last daemon died.
    pub daemon_gone: Tick,
    /// Engine run whose clients come by themselves.
    pub ticking: Option<u64>,
    /// The engine served until then; 0: it serves, or never did.
    pub served_until: Tick,
}

impl World {
    /// Resources that are on at a host.
    pub fn on(&self, node: NodeId) -> Vec<ResourceIndex> {
        let hands = &self.hosts[index(node)].notes.hands;
        HANDS.into_iter().filter(|resource| hands[resource.0].on).collect()
    }

    /// The same, of those that the fast fence takes down: what answers clients.
    pub fn answering(&self, node: NodeId) -> Vec<ResourceIndex> {
        self.on(node).into_iter().filter(|resource| [VIP, APP].contains(resource)).collect()
    }

    /// Does something to a resource, as the node asks.
    pub fn affect(&mut self, node: NodeId, id: StepId, resource: ResourceIndex, act: Act) {
        self.watch_act(node, resource, act);
        let name = self.name();
        let (end, half) = self.fate(node, resource, act);
        let span = self.effort(node, resource, act);
        let host = self.host(node);
        let Some(run) = host.daemon.as_ref().map(|daemon| daemon.run) else { return };
        let hand = &mut host.notes.hands[resource.0];
        hand.job = Some(Job { name, run, id, act, end, half });
        if act != Act::Check {
            // What was left of it is killed first.
            hand.orphan = None;
        }
        self.say(|| format!("{node}: {act:?} {}", resource.0));
        if end != End::Silent || act == Act::Start {
            self.queue.after(span, What::HandDone { node, resource: resource.0, name });
        }
    }

    fn fate(&mut self, node: NodeId, resource: ResourceIndex, act: Act) -> (End, bool) {
        let half = self.random.chance(500);
        let rare = self.plan.jitter && !self.healed && self.random.chance(8);
        let trouble = self.hosts[index(node)].notes.hands[resource.0].trouble;
        let end = match (trouble, act) {
            (Some(Trouble::Start), Act::Start) | (Some(Trouble::Stop), Act::Stop) => End::Fails,
            (Some(Trouble::Kill), Act::Kill | Act::Stop) if half => End::Fails,
            (Some(Trouble::Kill), Act::Kill | Act::Stop) => End::Silent,
            (Some(Trouble::Hang), _) => End::Silent,
            // The deadline of a fence leaves no room for chance: kills have a trouble of their own.
            (_, Act::Start | Act::Stop | Act::Check) if rare => End::Fails,
            _ => End::Well,
        };
        (end, half)
    }

    fn effort(&mut self, node: NodeId, resource: ResourceIndex, act: Act) -> Span {
        let slow = self.hosts[index(node)].notes.hands[resource.0].trouble == Some(Trouble::Slow);
        match act {
            Act::Kill => self.delay_us(500, 40_000),
            _ if slow => self.delay_us(800_000, 3_500_000),
            Act::Check => self.delay_us(1_000, 60_000),
            Act::Start if resource == APP => self.delay_us(20_000, 500_000),
            Act::Start | Act::Stop => self.delay_us(3_000, 200_000),
        }
    }

    /// An effect ends.
    pub fn hand_done(&mut self, node: NodeId, resource: usize, name: u64) {
        let host = self.host(node);
        let serves = host.engine.as_ref().is_some_and(|engine| engine.open);
        let run = host.daemon.as_ref().map(|daemon| daemon.run);
        let hand = &mut host.notes.hands[resource];
        let named = |job: &&mut Job| job.name == name;
        let job = match (hand.job.as_mut().filter(named), hand.orphan.as_mut().filter(named)) {
            (Some(_), _) => hand.job.take(),
            (None, Some(_)) => hand.orphan.take(),
            (None, None) => None,
        };
        let Some(job) = job else { return };
        let was = hand.on;
        let needs_disk = resource != VIP.0;
        let end = if job.act == Act::Start && needs_disk && !serves && job.end == End::Well {
            End::Fails // Its disk answers with errors.
        } else {
            job.end
        };
        let outcome = match (job.act, end) {
            (Act::Check, End::Well) if hand.orphan.is_some() => failed("its start was cut short"),
            (Act::Check, End::Well) if hand.on => Some(Outcome::On),
            (Act::Check, End::Well) => Some(Outcome::Off),
            (Act::Start, End::Well) => {
                hand.on = true;
                Some(Outcome::On)
            }
            (Act::Start, other) => {
                hand.on |= job.half && serves;
                if other == End::Fails { failed("does not come up") } else { None }
            }
            (Act::Stop | Act::Kill, End::Well) => {
                hand.on = false;
                Some(Outcome::Off)
            }
            (_, End::Fails) => failed("does not do as it is told"),
            (_, End::Silent) => None,
        };
        let is = hand.on;
        if is && !was {
            self.watch_coming_on(node, ResourceIndex(resource));
        }
        if is != was {
            self.say(|| format!("{node}: {resource} is {}", if is { "on" } else { "off" }));
            self.clients_may_come(node);
        }
        if let (Some(outcome), true) = (outcome, run == Some(job.run)) {
            let resource = Event::Resource { group: G, id: job.id, outcome };
            self.hear_node(node, resource);
        }
    }

    /// The daemon has died: what it had begun goes on.
    pub fn orphan_hands(&mut self, node: NodeId) {
        let now = self.now();
        let notes = &mut self.host(node).notes;
        notes.daemon_gone = now;
        notes.keeping = None;
        for hand in &mut notes.hands {
            match hand.job.take() {
                Some(job) if job.act == Act::Start => hand.orphan = Some(job),
                // A stop or a kill that has begun ends in its own time, too.
                Some(job) if job.act != Act::Check => hand.job = Some(job),
                _ => {}
            }
        }
    }

    /// The host has lost power: nothing is on, and what was kept for this boot is gone.
    pub fn lose_hands(&mut self, node: NodeId) {
        let now = self.now();
        let notes = &mut self.host(node).notes;
        for hand in &mut notes.hands {
            *hand = Hand { trouble: hand.trouble, ..Hand::default() };
        }
        notes.memory = Memory::default();
        notes.kept = None;
        notes.keeping = None;
        notes.daemon_gone = now;
        notes.ticking = None;
        self.watch_power_loss(node);
    }

    /// The programs die by themselves.
    pub fn app_dies(&mut self, node: NodeId) {
        let hand = &mut self.host(node).notes.hands[APP.0];
        if std::mem::take(&mut hand.on) {
            self.say(|| format!("{node}: {} dies", APP.0));
        }
    }

    /// A monitor looks.
    pub fn probe(&mut self, node: NodeId, monitor: MonitorIndex, id: StepId) {
        let span = self.delay_us(500, 50_000);
        let host = self.host(node);
        let Some(run) = host.daemon.as_ref().map(|daemon| daemon.run) else { return };
        let on = host.notes.hands[APP.0].on;
        let wrong = || Found::Wrong("not as it should be".to_owned());
        let found = match host.notes.findings.get(monitor.0).copied().unwrap_or_default() {
            Finding::Truth if monitor == OF_APP && !on => wrong(),
            Finding::Truth => Found::Fine,
            Finding::Wrong => wrong(),
            Finding::NoAnswer => Found::NoAnswer("no answer".to_owned()),
            Finding::Nothing => return,
        };
        self.queue.after(span, What::Probed { node, run, monitor, id, found });
    }

    /// What a probe found is told.
    pub fn probed(
        &mut self,
        node: NodeId,
        run: u64,
        monitor: MonitorIndex,
        id: StepId,
        found: Found,
    ) {
        if self.is_daemon(node, run) {
            self.hear_node(node, Event::Probed { monitor, id, found });
        }
    }

    /// A monitor runs its script.
    pub fn script(&mut self, node: NodeId, monitor: MonitorIndex, id: StepId) {
        let span = self.delay_us(1_000, 900_000);
        let run = self.host(node).daemon.as_ref().map(|daemon| daemon.run);
        if let Some(run) = run {
            self.queue.after(span, What::Scripted { node, run, monitor, id });
        }
    }

    /// The script has ended.
    pub fn scripted(&mut self, node: NodeId, run: u64, monitor: MonitorIndex, id: StepId) {
        if self.is_daemon(node, run) {
            self.hear_node(node, Event::Scripted { monitor, id });
        }
    }

    /// The host is told to end. A reset takes no time that counts; nothing stops it.
    pub fn tell_host(&mut self, node: NodeId, action: HostAction) {
        let span = match action {
            HostAction::Reset | HostAction::Panic => self.delay_us(500, 50_000),
            HostAction::Shutdown | HostAction::Reboot => self.delay_us(50_000, 3_000_000),
        };
        let host = self.host(node);
        let boot = host.boot;
        if host.notes.refuses && action != HostAction::Reset {
            let cause = "the host does not do as it is told".to_owned();
            return self.hear_node(node, Event::HostFailed { cause });
        }
        self.say(|| format!("{node}: host: {action:?}"));
        self.queue.after(span, What::HostEnds { node, boot, action });
    }

    /// The host ends, and comes back: by itself, or because somebody switches it on.
    pub fn host_ends(&mut self, node: NodeId, boot: BootId, action: HostAction) {
        let host = self.host(node);
        if !host.power || host.boot != boot {
            return;
        }
        self.power_off(node);
        let back = match action {
            HostAction::Reset | HostAction::Reboot => self.delay_us(500_000, 6_000_000),
            HostAction::Shutdown | HostAction::Panic => self.delay_us(5_000_000, 20_000_000),
        };
        self.queue.after(back, What::PowerOn { node });
    }

    /// The daemon stores the lease for its successor, in its own time.
    pub fn keep_lease(&mut self, node: NodeId) {
        if self.plan.group.is_none() {
            return;
        }
        let span = self.delay_us(100, 5_000);
        let host = self.host(node);
        let Some(daemon) = host.daemon.as_ref() else { return };
        let Some(whole) = daemon.brain.node() else { return };
        let (run, until) = (daemon.run, whole.lease_to_keep(G));
        if host.notes.keeping.is_none() && host.notes.kept == until {
            return;
        }
        if host.notes.keeping.replace(until).is_none() {
            self.queue.after(span, What::LeaseKept { node, run });
        }
    }

    /// The lease is stored.
    pub fn lease_kept(&mut self, node: NodeId, run: u64) {
        if self.is_daemon(node, run) {
            let notes = &mut self.host(node).notes;
            if let Some(newest) = notes.keeping.take() {
                notes.kept = newest;
            }
        }
    }

    fn is_daemon(&self, node: NodeId, run: u64) -> bool {
        self.hosts[index(node)].daemon.as_ref().is_some_and(|daemon| daemon.run == run)
    }
}

fn failed(why: &str) -> Option<Outcome> {
    Some(Outcome::Failed(why.to_owned()))
}
