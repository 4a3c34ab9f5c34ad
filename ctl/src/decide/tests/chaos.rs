//! Random faults on both nodes, the links and the arbiter; then everything heals. While it lasts no
//! engines of both nodes serve and no acknowledged write is missing where one does; after it the
//! group serves and both nodes are members. For a group of one volume, of two whose engines and
//! links fail independently, and of none.

use super::engines::with_volumes;
use super::toy::*;
use crate::decide::event::Verb;
use lockstep_engine::units::{Members, NodeId, Role};

/// Random numbers of a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }
}

fn upset(world: &mut World, dice: &mut Dice) {
    let node = if dice.roll(2) == 0 { A } else { B };
    let index = usize::from(node == B);
    let volumes = u64::try_from(world.links.cut.len()).unwrap();
    let volume = usize::try_from(dice.roll(volumes)).unwrap();
    match dice.roll(24) {
        0 => world.links.up = false,
        1 | 2 => world.links.up = true,
        22 => world.links.cut[volume] = true,
        23 => world.links.cut[volume] = false,
        3 => world.beats = false,
        4 | 5 => world.beats = true,
        6 => world.reach[index] = false,
        7 | 8 => world.reach[index] = true,
        9 => world.slow[index] = !world.slow[index],
        10 => world.lose_replies[index] = !world.lose_replies[index],
        11 => world.one_dies(node, volume),
        12 | 13 => revive(world, node),
        14 => {
            world.daemon_dies(node);
            world.daemon_starts(node);
        }
        15 => world.host_dies(node),
        16 => drop(world.ask(node, Verb::Move)),
        17 => drop(world.ask(node, Verb::Takeover)),
        18 => drop(world.ask(node, Verb::Stop)),
        19 => drop(world.ask(node, Verb::Release)),
        20 => drop(world.ask(node, Verb::Start { without_peer: false })),
        _ => {
            if !world.requests.is_empty() {
                let count = u64::try_from(world.requests.len()).unwrap();
                let late = usize::try_from(dice.roll(count)).unwrap();
                world.apply(late);
            }
        }
    }
    world.quiesce();
}

fn revive(world: &mut World, node: NodeId) {
    let this = world.node(node);
    match (this.decider.is_some(), this.engines.up()) {
        (false, _) => world.host_boots(node),
        (true, false) => world.engine_starts(node),
        (true, true) => {}
    }
}

fn heal(world: &mut World) {
    world.links.heal();
    world.beats = true;
    world.reach = [true; 2];
    world.slow = [false; 2];
    world.lose_replies = [false; 2];
    revive(world, A);
    revive(world, B);
    world.run(30_000);
    for node in [A, B] {
        if world.role(A) != Role::Primary && world.role(B) != Role::Primary {
            world.ask(node, Verb::Start { without_peer: false });
            world.run(15_000);
        }
    }
    world.run(5_000);
    let serving = [A, B].into_iter().filter(|node| world.role(*node) == Role::Primary).count();
    let (record, tail) = (world.stored(), world.notes.len().saturating_sub(30));
    let views = [world.decider(A).view(), world.decider(B).view()];
    assert_eq!(serving, 1, "{record:?}\n{:#?}\n{views:#?}", &world.notes[tail..]);
    assert_eq!(world.members(), Members::BOTH, "{:#?}\n{views:#?}", &world.notes[tail..]);
    for node in [A, B] {
        let view = world.decider(node).view();
        assert_eq!((view.attempt, view.request), (None, None));
    }
}

fn seeds() -> std::ops::Range<u64> {
    let given = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let first = given("CHAOS_FIRST").unwrap_or(1);
    first..first + given("CHAOS_SEEDS").unwrap_or(150)
}

#[test]
fn any_mix_of_faults_is_survived() {
    for seed in seeds() {
        println!("seed {seed}");
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        trouble(&mut dice);
    }
}

fn trouble(dice: &mut Dice) {
    let mut world = World::serving(A);
    world.auto = dice.roll(2) == 0;
    world.daemon_starts(A);
    world.daemon_starts(B);
    world.run(2_000);
    for _ in 0..2 {
        for _ in 0..dice.roll(25) {
            upset(&mut world, dice);
            let pause = [10, 300, 1_500, 7_000][usize::try_from(dice.roll(4)).unwrap()];
            world.run(pause);
        }
        heal(&mut world);
    }
}

#[test]
fn any_mix_of_faults_is_survived_with_two_volumes_and_with_none() {
    for volumes in [2, 0] {
        with_volumes(volumes, || {
            for seed in seeds() {
                println!("{volumes} volumes, seed {seed}");
                trouble(&mut Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
            }
        });
    }
}
