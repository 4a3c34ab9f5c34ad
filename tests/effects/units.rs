//! Units, with a service manager played by a script: its words are those of systemctl.

use crate::kit::{Lab, within};
use lockstep_ctl::act::resource::State;
use lockstep_ctl::act::resource::spec::UnitSpec;
use lockstep_ctl::act::resource::unit::Manager;

const MS: u64 = 20_000;

/// A manager whose one unit has its state in the file `state`.
fn manager(lab: &Lab) -> Manager {
    let state = lab.path("state").display().to_string();
    let body = format!(
        "echo \"$*\" >>{state}.calls\n\
         for word in \"$@\"; do\n\
         case $word in -*) ;; *) verb=${{verb:-$word}}; unit=$word;; esac; done\n\
         case $unit in good.service) load=loaded;; *) load=not-found;; esac\n\
         now=$(cat {state} 2>/dev/null || echo inactive)\n\
         case $verb in\n\
         show) echo LoadState=$load; echo ActiveState=$now; echo SubState=sub; echo Result=exit;;\n\
         start) [ -e {state}.refuse ] && {{ echo Job failed >&2; exit 1; }}\n\
         echo active >{state};;\n\
         stop) echo inactive >{state};;\n\
         kill) echo failed >{state};;\n\
         esac"
    );
    Manager { systemctl: lab.script("systemctl", &body), booted: lab.folder("booted") }
}

fn unit(name: &str) -> UnitSpec {
    UnitSpec { unit: name.to_owned() }
}

#[tokio::test]
async fn a_unit_is_started_and_stopped_once_however_often_it_is_asked() {
    let lab = Lab::new();
    let (manager, context, good) = (manager(&lab), lab.context("db"), unit("good.service"));
    assert_eq!(manager.status(&good, &context, within(MS)).await, Ok(State::Off));
    manager.start(&good, &context, within(MS)).await.unwrap();
    manager.start(&good, &context, within(MS)).await.unwrap();
    assert_eq!(manager.status(&good, &context, within(MS)).await, Ok(State::On));
    manager.stop(&good, &context, within(MS)).await.unwrap();
    manager.stop(&good, &context, within(MS)).await.unwrap();
    let calls = lab.text("state.calls");
    let count = |verb: &str| calls.lines().filter(|line| line.ends_with(verb)).count();
    assert_eq!((count(" start good.service"), count(" stop good.service")), (1, 1), "{calls}");
}

#[tokio::test]
async fn a_unit_is_killed_with_a_stop_job_first_so_that_it_is_not_started_again() {
    let lab = Lab::new();
    let (manager, context, good) = (manager(&lab), lab.context("db"), unit("good.service"));
    manager.start(&good, &context, within(MS)).await.unwrap();
    manager.kill(&good, &context, within(1_000)).await.unwrap();
    let calls = lab.text("state.calls");
    let at = |word: &str| calls.find(word).unwrap_or_else(|| panic!("no {word} in {calls}"));
    assert!(at("stop --no-block") < at("kill --signal=SIGKILL"));
    let state = manager.status(&good, &context, within(MS)).await.unwrap();
    assert!(matches!(&state, State::Broken(why) if why.contains("failed")), "{state:?}");
    manager.stop(&good, &context, within(MS)).await.unwrap();
}

#[tokio::test]
async fn a_unit_that_is_not_there_or_refuses_says_why() {
    let lab = Lab::new();
    let (manager, context) = (manager(&lab), lab.context("db"));
    let failure = manager.start(&unit("bad.service"), &context, within(MS)).await.unwrap_err();
    assert!(failure.cause.contains("not-found"), "{failure}");
    let failure = manager.start(&unit("nameless"), &context, within(MS)).await.unwrap_err();
    assert!(failure.cause.contains("no name of a unit"), "{failure}");
    std::fs::write(lab.path("state.refuse"), "").unwrap();
    let failure = manager.start(&unit("good.service"), &context, within(MS)).await.unwrap_err();
    assert!(failure.cause.contains("Job failed"), "{failure}");
    assert!(failure.hint.contains("journalctl -u good.service"), "{failure}");
}

#[tokio::test]
async fn without_systemd_a_unit_says_what_to_use_instead() {
    let lab = Lab::new();
    let manager = Manager { booted: lab.path("not-booted"), ..manager(&lab) };
    let context = lab.context("db");
    let failure = manager.start(&unit("good.service"), &context, within(MS)).await.unwrap_err();
    assert!(failure.cause.contains("systemd does not run this host"), "{failure}");
    assert!(failure.hint.contains("exec"), "{failure}");
}
