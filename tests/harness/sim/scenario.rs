//! Stories as text: one step a line, what follows from it below, each line behind a dash.
//!
//! ```text
//! up                        boot both, create, start on a, wait until both copies are equal
//! boot                      boot both and no more
//! power-on|power-off N      host
//! kill-engine|start-engine N, kill-daemon|start-daemon N, freeze N SPAN
//! write|write-fua|read|zero N FIRST..END, flush N          clients, in blocks
//! run SPAN, until in-sync SPAN, until serves N SPAN        time
//! cut|heal link|beats|all, stall|pass a->b, break link     network
//! arbiter down|up|back|forth, arbiter cut|join|lose-reply N, arbiter late N SPAN
//! disk N slow SPAN|fail-reads|fail-writes|fail-meta|ok|swap|snapshot|restore
//! disk N bad|rot|rot-data NUMBER                           block or page
//! create|start|takeover|move|stop|release|force N, start-alone N, verify N
//! old-frame N               a frame of an earlier session or epoch gets past the shell
//! expect N serves|refuses, expect N role|disk|mirror WORD, expect members a,b, expect equal
//! status N
//! group                     first of all: hosts run whole nodes, with a group
//! gives-back                the group goes back to its best node by itself
//! group N start|stop|move|failover, cluster N start|stop|suspend|resume
//! hand N fs|vip|app start-fails|stop-fails|unkillable|hangs|ok
//! expect N on NAMES|nothing, settle SPAN    the group is up on one node by then
//! watched SPAN              no more faults; the operator of seeds looks, until a copy was forced
//! look                      it looks at once
//! ```
//!
//! Time moves with `run` and `until` only. Nothing is left to chance. The judge watches as in a
//! seeded run: a violation is printed and fails the story.

use super::chaos::Fault;
use super::client::blocks;
use super::host::Asked;
use super::judge::index;
use super::seed::Ending;
use super::world::{Plan, What, World};
use lockstep_ctl::decide::event::Verb;
use lockstep_engine::limits::Times;
use lockstep_engine::replica::event::Command;
use lockstep_engine::replica::settings::AckMode;
use lockstep_engine::units::{BLOCKS_PER_REGION, Extent, Members, NodeId, Span, Status};

/// A request may stay unanswered for this much longer than the engine's own limit (P6).
const HELD: Span = Span::millis(10_000);
/// Regions of the volume in stories.
const REGIONS: u64 = 16;

/// Plays a story; gives it back with what really followed each step, and whether all went well.
pub fn play(text: &str) -> (String, bool) {
    let mut story = Story { world: World::new(quiet()), told: 0, good: true };
    let mut out = String::new();
    for line in text.lines().filter(|line| !line.starts_with('-')) {
        out += line;
        out.push('\n');
        let step = line.split('#').next().unwrap_or_default().trim();
        if step.is_empty() {
            continue;
        }
        if let Err(why) = story.step(step) {
            story.good = false;
            story.world.trace.push(format!("FAILED: {why}"));
        }
        story.tell(&mut out);
    }
    (out, story.good)
}

fn quiet() -> Plan {
    Plan {
        seed: 1,
        blocks: REGIONS * BLOCKS_PER_REGION,
        working: vec![0],
        intent_regions: 64,
        ack: AckMode::Written,
        sync_digests: false,
        times: Times { suspend_max: Some(Span::millis(20_000)), ..Times::DEFAULT },
        intent_idle: Span::millis(5_000),
        sync_window: 4,
        auto_takeover: false,
        serials: false,
        patience: Span::millis(9_000),
        jitter: false,
        clients: false,
        trace: true,
        theme: None,
        odds: Vec::new(),
        calm: 0,
        marks_kept: true,
        lag: None,
        group: None,
    }
}

struct Story {
    world: World,
    told: usize,
    good: bool,
}

type Step = Result<(), String>;

fn node(word: &str) -> Result<NodeId, String> {
    match word {
        "a" => Ok(NodeId::A),
        "b" => Ok(NodeId::B),
        _ => Err(format!("`{word}` is neither a nor b")),
    }
}

fn number(word: &str) -> Result<u64, String> {
    word.parse().map_err(|_| format!("`{word}` is not a number"))
}

fn span(word: &str) -> Result<Span, String> {
    match word.strip_suffix("ms") {
        Some(ms) => Ok(Span::millis(number(ms)?)),
        None => match word.strip_suffix('s') {
            Some(s) => Ok(Span::millis(number(s)? * 1_000)),
            None => Err(format!("`{word}` is not a span, such as 5s or 200ms")),
        },
    }
}

fn range(word: &str) -> Result<Extent, String> {
    let (first, end) = word.split_once("..").ok_or(format!("`{word}` is not FIRST..END"))?;
    let (first, end) = (number(first)?, number(end)?);
    if first >= end {
        return Err(format!("`{word}` is empty"));
    }
    Ok(blocks(first, end - first))
}

impl Story {
    fn tell(&mut self, out: &mut String) {
        if let Some(violation) = self.world.judge.violation.take() {
            self.good = false;
            self.world.trace.push(format!("VIOLATION {violation}"));
        }
        for line in &self.world.trace[self.told..] {
            for part in line.lines() {
                *out += &format!("- {part}\n");
            }
        }
        self.told = self.world.trace.len();
    }

    fn step(&mut self, step: &str) -> Step {
        let words: Vec<&str> = step.split_whitespace().collect();
        match words[..] {
            ["up"] => self.up(),
            ["up", "received"] => {
                self.world.plan.ack = AckMode::Received;
                self.up()
            }
            ["auto-takeover"] => {
                self.world.plan.auto_takeover = true;
                Ok(())
            }
            ["group"] => {
                self.world.story_group();
                Ok(())
            }
            ["gives-back"] => self.world.story_gives_back(),
            ["look"] => {
                self.world.operator_tick();
                Ok(())
            }
            ["watched", time] => self.watched(span(time)?),
            ["group", who, verb] => self.world.story_wish(node(who)?, verb),
            ["cluster", who, verb] => self.world.story_service(node(who)?, verb),
            ["hand", who, name, how] => self.world.story_hand(node(who)?, name, how),
            ["settle", time] => {
                self.world.story_settle(span(time)?);
                Ok(())
            }
            ["boot"] => {
                self.world.power_on(NodeId::A);
                self.world.power_on(NodeId::B);
                Ok(())
            }
            ["run", time] => {
                self.world.run(span(time)?);
                self.world.check_held(HELD);
                Ok(())
            }
            ["until", "in-sync", time] => self.until(span(time)?, World::in_sync),
            ["until", "serves", who, time] => {
                let who = node(who)?;
                self.until(span(time)?, |world| world.serves(who))
            }
            ["expect", ..] => self.expect(&words[1..]),
            ["status", who] => self.status(node(who)?),
            ["write" | "write-fua" | "read" | "zero", ..] | ["flush", _] => self.client(&words),
            ["cut" | "heal" | "stall" | "pass" | "break", what] => self.network(words[0], what),
            ["arbiter", "back"] => match self.world.roll_back() {
                true => Ok(()),
                false => Err("the arbiter can't go back now".to_owned()),
            },
            ["arbiter", ..] => self.arbiter(&words[1..]),
            ["disk", who, ..] => self.disk(node(who)?, &words[2..]),
            [_, _] => self.process(words[0], node(words[1])?),
            ["freeze", who, time] => {
                self.world.inject(Fault::Freeze(node(who)?), Some(span(time)?));
                Ok(())
            }
            _ => Err(format!("`{step}` is not a step")),
        }
    }

    /// Boots, creates, starts on a; says nothing of it unless it fails.
    fn up(&mut self) -> Step {
        let world = &mut self.world;
        world.power_on(NodeId::A);
        world.power_on(NodeId::B);
        world.run(Span::millis(2_000));
        world.operator(NodeId::A, Verb::Create { both_blank: true });
        world.run(Span::millis(2_000));
        world.operator(NodeId::A, Verb::Start { without_peer: false });
        let done = self.until(Span::millis(20_000), |world| world.in_sync() && world.group_is_up());
        if done.is_ok() {
            self.world.trace.truncate(self.told);
            self.world.trace.push("up: a serves, both copies are equal".to_owned());
        }
        done
    }

    /// What the operator tries before is left out.
    fn watched(&mut self, span: Span) -> Step {
        let world = &mut self.world;
        world.heal();
        world.idle_since = world.now();
        world.queue.after(Span(0), What::OperatorTick);
        let forced = |world: &World| world.ending == Ending::Forced;
        let done = self.until(span, forced);
        if done.is_ok() && self.world.judge.violation.is_none() {
            self.world.trace.truncate(self.told);
            self.world.trace.push("operator: has forced a copy".to_owned());
        }
        done
    }

    fn until(&mut self, span: Span, done: impl Fn(&World) -> bool) -> Step {
        let end = self.world.now().after(span);
        while !done(&self.world) {
            if self.world.judge.violation.is_some() {
                return Ok(());
            }
            if self.world.now() >= end {
                return Err(format!("waited in vain: {}", self.world.describe()));
            }
            self.world.run(Span::millis(10));
        }
        Ok(())
    }

    fn client(&mut self, words: &[&str]) -> Step {
        let who = node(words[1])?;
        let (asked, at) = match words {
            ["flush", _] => (Asked::Flush, Extent::default()),
            ["read", _, at] => (Asked::Read, range(at)?),
            ["write", _, at] => (Asked::Write { fua: false }, range(at)?),
            ["write-fua", _, at] => (Asked::Write { fua: true }, range(at)?),
            ["zero", _, at] => (Asked::Zero { fua: false }, range(at)?),
            _ => return Err(format!("`{}` is not a request", words.join(" "))),
        };
        if !self.world.serves(who) {
            self.world.trace.push(format!("{who}: does not accept clients"));
            return Ok(());
        }
        self.world.request(who, asked, at);
        Ok(())
    }

    fn network(&mut self, verb: &str, what: &str) -> Step {
        let on = matches!(verb, "cut" | "stall");
        let fault = match what {
            "link" if verb == "break" => {
                self.world.break_link();
                return Ok(());
            }
            "link" => Fault::CutLink,
            "beats" => Fault::CutBeats,
            "all" => Fault::CutAll,
            "a->b" => Fault::StallLink(NodeId::B),
            "b->a" => Fault::StallLink(NodeId::A),
            _ => return Err(format!("`{what}` is no network")),
        };
        self.world.network(fault, on);
        Ok(())
    }

    fn arbiter(&mut self, words: &[&str]) -> Step {
        let arbiter = &mut self.world.arbiter;
        match words {
            ["down"] => arbiter.down = true,
            ["up"] => arbiter.down = false,
            ["forth"] => arbiter.roll_forward(),
            ["cut", who] => arbiter.cut[index(node(who)?)] = true,
            ["join", who] => arbiter.cut[index(node(who)?)] = false,
            ["lose-reply", who] => arbiter.lose_replies[index(node(who)?)] += 1,
            ["late", who, time] => arbiter.late[index(node(who)?)] = span(time)?.0,
            _ => return Err("the arbiter can't do that".to_owned()),
        }
        Ok(())
    }

    fn disk(&mut self, who: NodeId, words: &[&str]) -> Step {
        let stamp = self.world.name();
        let host = self.world.host(who);
        let disk = &mut host.disk;
        match words {
            ["slow", time] => disk.faults.slow = span(time)?.0,
            ["fail-reads"] => disk.faults.reads = true,
            ["fail-writes"] => disk.faults.writes = true,
            ["fail-meta"] => disk.faults.meta = true,
            ["ok"] => {
                disk.faults = Default::default();
                disk.bad_blocks.clear();
            }
            ["bad", block] => disk.bad_blocks.push(number(block)?),
            ["rot-data", block] => disk.rot_data(number(block)?, stamp),
            ["rot", page] => {
                let page = usize::try_from(number(page)?).map_err(|error| error.to_string())?;
                disk.rot(page, 0b100);
                host.rotted = true;
            }
            ["snapshot"] => host.snapshot = Some(host.disk.snapshot()),
            ["swap" | "restore"] if host.power => return Err("power the host off first".into()),
            ["swap"] => {
                disk.swap();
                host.content_lost = true;
                host.spoil("a replaced disk");
            }
            ["restore"] => {
                let Some(snapshot) = host.snapshot.take() else {
                    return Err("there is no snapshot".to_owned());
                };
                disk.restore(&snapshot);
                host.content_lost = true;
            }
            _ => return Err("a disk can't do that".to_owned()),
        }
        Ok(())
    }

    fn process(&mut self, verb: &str, who: NodeId) -> Step {
        let world = &mut self.world;
        match verb {
            "power-off" => world.power_off(who),
            "power-on" => world.power_on(who),
            "kill-engine" => world.kill_engine(who, None),
            "start-engine" => world.queue.after(Span(0), What::EngineStart { node: who }),
            "kill-daemon" => world.kill_daemon(who, None),
            "start-daemon" => world.queue.after(Span(0), What::DaemonStart { node: who }),
            "create" => world.operator(who, Verb::Create { both_blank: false }),
            "create-blank" => world.operator(who, Verb::Create { both_blank: true }),
            "start" => world.operator(who, Verb::Start { without_peer: false }),
            "start-alone" => world.operator(who, Verb::Start { without_peer: true }),
            "takeover" => world.operator(who, Verb::Takeover),
            "move" => world.operator(who, Verb::Move),
            "stop" => world.operator(who, Verb::Stop),
            "release" => world.operator(who, Verb::Release),
            "force" => world.operator(who, Verb::ForcePromote),
            "verify" => world.command_now(who, 0, None, Command::Verify { start: true }),
            "old-frame" => world.old_frame(who),
            _ => return Err(format!("`{verb}` is not a step")),
        }
        Ok(())
    }

    fn seen(&self, who: NodeId) -> Result<Status, String> {
        let host = &self.world.hosts[index(who)];
        let engine = host.engine.as_ref().ok_or(format!("{who} has no engine"))?;
        Ok(engine.replica.status())
    }

    fn status(&mut self, who: NodeId) -> Step {
        let s = self.seen(who)?;
        self.world.trace.push(format!(
            "{who}: {:?} {:?} {:?} link {:?} need {:?} dirty {} hot {}",
            s.role, s.disk, s.mirror, s.link, s.need, s.dirty_blocks, s.hot_regions
        ));
        Ok(())
    }

    fn expect(&mut self, words: &[&str]) -> Step {
        let (want, found) = match words {
            ["equal"] => {
                let [a, b] = &self.world.hosts;
                let differ = |block: &u64| a.disk.current.get(*block) != b.disk.current.get(*block);
                let bad = self.world.judge.blocks().into_iter().find(differ);
                ("no block".to_owned(), bad.map_or("no block".to_owned(), |b| format!("{b}")))
            }
            ["members", names] => {
                let all = names.split(',').map(node).collect::<Result<Vec<_>, _>>()?;
                let want = Members::from(all);
                (format!("{want:?}"), format!("{:?}", self.world.members()))
            }
            [who, "serves"] => ("true".into(), format!("{}", self.world.serves(node(who)?))),
            [who, "on", names] => ((*names).to_owned(), self.world.story_on(node(who)?)),
            [who, "refuses"] => ("false".into(), format!("{}", self.world.serves(node(who)?))),
            [who, what, word] => {
                let s = self.seen(node(who)?)?;
                let found = match *what {
                    "role" => format!("{:?}", s.role),
                    "disk" => format!("{:?}", s.disk),
                    "mirror" => format!("{:?}", s.mirror),
                    _ => return Err(format!("`{what}` can't be expected")),
                };
                ((*word).to_owned(), found)
            }
            _ => return Err("that can't be expected".to_owned()),
        };
        if want == found { Ok(()) } else { Err(format!("expected {want}, found {found}")) }
    }
}
