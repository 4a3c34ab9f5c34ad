//! Addresses and ping between two network namespaces. The test runs itself again inside the first.

use crate::kit::{Lab, eventually, must, within};
use harness::pair::may_make_spaces;
use lockstep_ctl::act::probe::spec::{Found, Require, Spec as Probe};
use lockstep_ctl::act::probe::{Surroundings, probe};
use lockstep_ctl::act::resource::spec::{AddressSpec, Spec};
use lockstep_ctl::act::resource::{State, fence, start, status, stop};
use std::net::IpAddr;
use std::process::Command;
use std::time::{Duration, Instant};

const MS: u64 = 10_000;
/// Set to the name of the other namespace while the test runs inside the first.
const INSIDE: &str = "LOCKSTEP_TEST_NEIGHBOUR";

/// Namespaces `here` and `there`, joined by the interfaces `wire`; `here` also has `spare`.
struct Spaces {
    here: String,
    there: String,
}

impl Spaces {
    fn make(test: &str) -> Spaces {
        let name = |side: &str| format!("lse{}-{test}-{side}", std::process::id());
        let spaces = Spaces { here: name("a"), there: name("b") };
        let (here, there) = (&spaces.here, &spaces.there);
        let ip = |line: String| must("ip", &line.split(' ').collect::<Vec<_>>());
        for space in [here, there] {
            ip(format!("netns add {space}"));
        }
        ip(format!("link add name wire netns {here} type veth peer name wire netns {there}"));
        ip(format!("link add name spare netns {here} type veth peer name spare netns {there}"));
        for (host, space) in [(1, here), (2, there)] {
            for link in ["lo", "wire", "spare"] {
                ip(format!("-n {space} link set {link} up"));
            }
            ip(format!("-n {space} addr add 10.9.0.{host}/24 dev wire"));
            ip(format!("-n {space} addr add fd09::{host}/64 dev wire nodad"));
        }
        spaces
    }
}

impl Drop for Spaces {
    fn drop(&mut self) {
        for space in [&self.here, &self.there] {
            let _ = Command::new("ip").args(["netns", "del", space]).output();
        }
    }
}

/// Runs the test `name` again in a namespace; `None` when this is that run, else whether to go on.
fn neighbour(name: &str, short: &str) -> Option<String> {
    if let Ok(there) = std::env::var(INSIDE) {
        return Some(there);
    }
    if may_make_spaces() {
        let spaces = Spaces::make(short);
        let own = std::env::current_exe().unwrap();
        let output = Command::new("ip")
            .args(["netns", "exec", &spaces.here])
            .arg(own)
            .args(["--exact", name, "--nocapture", "--test-threads=1"])
            .env(INSIDE, &spaces.there)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let why = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("1 passed"), "{said}\n{why}");
    }
    None
}

fn address(text: &str, interface: &str) -> Spec {
    let address: IpAddr = text.parse().unwrap();
    let prefix = if address.is_ipv4() { 32 } else { 128 };
    Spec::Address(AddressSpec { address, prefix, interface: interface.to_owned() })
}

#[tokio::test]
async fn an_address_comes_goes_and_its_neighbours_hear_of_it() {
    let name = "addresses::an_address_comes_goes_and_its_neighbours_hear_of_it";
    let Some(there) = neighbour(name, "n") else { return };
    let lab = Lab::new();
    let context = lab.context("vip");
    for vip in ["10.9.0.7", "fd09::7"] {
        let spec = address(vip, "wire");
        // The neighbour believes that another host has it.
        let learn = ["-n", &there, "neigh", "replace", vip, "lladdr", "02:00:00:00:00:99"];
        must("ip", &[learn.as_slice(), &["dev", "wire", "nud", "stale"]].concat());
        assert_eq!(status(&spec, &context, within(MS)).await, Ok(State::Off));
        start(&spec, &context, within(MS)).await.unwrap();
        let believed = || {
            let output = must("ip", &["-n", &there, "neigh", "show", vip]);
            String::from_utf8(output.stdout).unwrap()
        };
        eventually("the neighbour is told", || !believed().contains("02:00:00:00:00:99"));
        assert!(believed().contains("lladdr"));
        start(&spec, &context, within(MS)).await.unwrap();
        assert_eq!(status(&spec, &context, within(MS)).await, Ok(State::On));
        stop(&spec, &context, within(MS)).await.unwrap();
        stop(&spec, &context, within(MS)).await.unwrap();
        assert_eq!(status(&spec, &context, within(MS)).await, Ok(State::Off));
    }
}

#[tokio::test]
async fn the_fast_fence_drops_addresses_at_once() {
    let name = "addresses::the_fast_fence_drops_addresses_at_once";
    let Some(_) = neighbour(name, "f") else { return };
    let lab = Lab::new();
    let context = lab.context("vip");
    let all: Vec<(Spec, _)> = ["10.9.0.7", "10.9.0.8", "fd09::7"]
        .iter()
        .map(|vip| (address(vip, "wire"), context.clone()))
        .collect();
    for (spec, context) in &all {
        start(spec, context, within(MS)).await.unwrap();
    }
    for _ in 0..2 {
        let began = Instant::now();
        assert_eq!(fence(all.clone(), within(1_000)).await, []);
        assert!(began.elapsed() < Duration::from_millis(1_200), "{:?}", began.elapsed());
    }
    for (spec, context) in &all {
        assert_eq!(status(spec, context, within(MS)).await, Ok(State::Off));
    }
}

#[tokio::test]
async fn an_address_in_the_wrong_place_is_seen_and_named() {
    let name = "addresses::an_address_in_the_wrong_place_is_seen_and_named";
    let Some(_) = neighbour(name, "w") else { return };
    let lab = Lab::new();
    let context = lab.context("vip");
    let broken = |state: State, part: &str| {
        assert!(matches!(&state, State::Broken(why) if why.contains(part)), "{part}: {state:?}");
    };
    let spec = address("10.9.0.7", "wire");
    start(&address("10.9.0.7", "spare"), &context, within(MS)).await.unwrap();
    broken(status(&spec, &context, within(MS)).await.unwrap(), "interface spare has");
    let failure = start(&spec, &context, within(MS)).await.unwrap_err();
    assert!(failure.cause.contains("spare"), "{failure}");
    stop(&spec, &context, within(MS)).await.unwrap();
    stop(&address("10.9.0.7", "spare"), &context, within(MS)).await.unwrap();

    // The node's own address is no address to be moved.
    let own = address("10.9.0.1", "wire");
    broken(status(&own, &context, within(MS)).await.unwrap(), "prefix /24");
    assert!(start(&own, &context, within(MS)).await.is_err());

    let failure = start(&address("10.9.0.7", "eth9"), &context, within(MS)).await.unwrap_err();
    assert!(failure.hint.contains("this host has lo, spare, wire"), "{failure}");
    assert_eq!(stop(&address("10.9.0.7", "eth9"), &context, within(MS)).await, Ok(()));

    start(&spec, &context, within(MS)).await.unwrap();
    must("ip", &["link", "set", "wire", "down"]);
    broken(status(&spec, &context, within(MS)).await.unwrap(), "is down");
    stop(&spec, &context, within(MS)).await.unwrap();
    let failure = start(&spec, &context, within(MS)).await.unwrap_err();
    assert!(failure.hint.contains("ip link set wire up"), "{failure}");
}

#[tokio::test]
async fn ping_hears_who_is_there_with_and_without_privileged_sockets() {
    let name = "addresses::ping_hears_who_is_there_with_and_without_privileged_sockets";
    let Some(_) = neighbour(name, "p") else { return };
    let lab = Lab::new();
    let context = lab.context("gateway");
    let around = Surroundings { context: &context, resource: None, mirror: ("", None) };
    let of = |targets: &[&str], require| Probe::Ping {
        targets: targets.iter().map(|target| target.parse().unwrap()).collect(),
        require,
    };
    // Groups 1 to 0 are none: raw sockets. All groups: datagram sockets.
    for groups in ["1 0", "0 2147483647"] {
        std::fs::write("/proc/sys/net/ipv4/ping_group_range", groups).unwrap();
        let both = of(&["10.9.0.2", "fd09::2"], Require::All);
        assert_eq!(probe(&both, around, within(MS)).await, Found::Fine, "{groups}");
        let one = of(&["10.9.0.2", "10.9.0.99", "fd09::99"], Require::Any);
        assert_eq!(probe(&one, around, within(MS)).await, Found::Fine, "{groups}");
        let all = of(&["10.9.0.2", "10.9.0.99", "fd09::99", "203.0.113.1"], Require::All);
        let began = Instant::now();
        let found = probe(&all, around, within(600)).await;
        assert!(began.elapsed() < Duration::from_millis(2_000), "{:?}", began.elapsed());
        let Found::Wrong(why) = found else { panic!("{groups}: {found:?}") };
        assert!(why.contains("10.9.0.99") && why.contains("fd09::99"), "{why}");
        assert!(why.contains("203.0.113.1") && !why.contains("10.9.0.2:"), "{why}");
    }
}
