//! Programs that behave and programs that do not.

use crate::kit::{Lab, eventually, is_root, lives, within};
use lockstep_ctl::act::resource::spec::{Command, ExecSpec, Spec};
use lockstep_ctl::act::resource::{State, fence, kill, start, status, stop};
use std::time::{Duration, Instant};

const MS: u64 = 20_000;
/// The fast fence has this long in all.
const FENCE_MS: u64 = 1_000;

fn command(lab: &Lab, name: &str, body: &str) -> Command {
    Command { program: lab.script(name, body), args: vec!["an argument".to_owned()] }
}

/// A service that leaves a process of its own session behind, which ignores SIGTERM and writes.
fn service(lab: &Lab) -> ExecSpec {
    let pid = lab.path("pid").display().to_string();
    let runs = format!("echo started >>{}.starts", pid);
    let body = format!(
        "{runs}\nsetsid sh -c 'trap \"\" TERM; echo $$ >{pid}; while :; do echo noise; \
         sleep 0.05; done' &\nwhile ! [ -s {pid} ]; do sleep 0.01; done\necho well started"
    );
    ExecSpec {
        start: command(lab, "start", &body),
        stop: command(
            lab,
            "stop",
            &format!("[ -s {pid} ] && kill -KILL $(cat {pid}); rm -f {pid}"),
        ),
        status: None,
    }
}

#[tokio::test]
async fn a_service_lives_on_after_its_start_program_and_is_stopped() {
    let lab = Lab::new();
    let (spec, context) = (Spec::Exec(service(&lab)), lab.context("web"));
    assert_eq!(status(&spec, &context, within(MS)).await, Ok(State::Off));
    start(&spec, &context, within(MS)).await.unwrap();
    start(&spec, &context, within(MS)).await.unwrap();
    assert_eq!(lab.text("pid.starts"), "started\n");
    assert_eq!(status(&spec, &context, within(MS)).await, Ok(State::On));
    let pid = lab.text("pid");
    let output = "run/resources/g.web.start.out";
    let before = lab.text(output).len();
    eventually("it writes on", || lab.text(output).len() > before + 20);
    assert!(lives(&pid));
    stop(&spec, &context, within(MS)).await.unwrap();
    stop(&spec, &context, within(MS)).await.unwrap();
    assert_eq!(status(&spec, &context, within(MS)).await, Ok(State::Off));
    assert!(!lives(&pid));
}

#[tokio::test]
async fn the_fast_fence_kills_what_ignores_sigterm_and_left_its_session() {
    let lab = Lab::new();
    let (spec, context) = (Spec::Exec(service(&lab)), lab.context("web"));
    kill(&spec, &context, within(FENCE_MS)).await.unwrap();
    start(&spec, &context, within(MS)).await.unwrap();
    let pid = lab.text("pid");
    let began = Instant::now();
    assert_eq!(fence(vec![(spec.clone(), context.clone())], within(FENCE_MS)).await, []);
    assert!(began.elapsed() < Duration::from_millis(FENCE_MS + 200), "{:?}", began.elapsed());
    assert!(!lives(&pid));
    assert_eq!(status(&spec, &context, within(MS)).await, Ok(State::Off));
    kill(&spec, &context, within(FENCE_MS)).await.unwrap();
    stop(&spec, &context, within(MS)).await.unwrap();
}

#[tokio::test]
async fn what_a_stop_program_forgets_is_killed() {
    let lab = Lab::new();
    let forgetful = ExecSpec { stop: command(&lab, "forget", "exit 0"), ..service(&lab) };
    let (spec, context) = (Spec::Exec(forgetful), lab.context("web"));
    start(&spec, &context, within(MS)).await.unwrap();
    let pid = lab.text("pid");
    stop(&spec, &context, within(2_000)).await.unwrap();
    assert!(!lives(&pid));
}

#[tokio::test]
async fn a_start_that_hangs_ends_before_its_deadline_and_leaves_nothing() {
    let lab = Lab::new();
    let pid = lab.path("pid").display().to_string();
    let body = format!(
        "trap '' TERM; echo about to hang; setsid sh -c 'trap \"\" TERM; echo $$ >{pid}; \
         sleep 60' & sleep 60; sleep 60"
    );
    let spec = Spec::Exec(ExecSpec { start: command(&lab, "hang", &body), ..service(&lab) });
    let context = lab.context("web");
    let began = Instant::now();
    let failure = start(&spec, &context, within(1_500)).await.unwrap_err();
    assert!(began.elapsed() < Duration::from_millis(2_500), "{:?}", began.elapsed());
    assert!(failure.cause.contains("in time") && failure.cause.contains("about to hang"));
    assert!(!lives(&lab.text("pid")));
    assert_eq!(status(&spec, &context, within(MS)).await, Ok(State::Off));
}

#[tokio::test]
async fn a_start_that_is_dropped_leaves_nothing_and_can_be_repeated() {
    let lab = Lab::new();
    let pid = lab.path("first").display().to_string();
    let body = format!("[ -e {pid} ] && exit 0; echo $$ >{pid}; sleep 60");
    let spec = Spec::Exec(ExecSpec { start: command(&lab, "slow", &body), ..service(&lab) });
    let context = lab.context("web");
    let began = {
        let (spec, context) = (spec.clone(), context.clone());
        tokio::spawn(async move { start(&spec, &context, within(MS)).await })
    };
    while lab.text("first").is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    began.abort();
    assert!(began.await.unwrap_err().is_cancelled());
    let pid = lab.text("first");
    eventually("the program is killed", || !lives(&pid));
    let state = status(&spec, &context, within(MS)).await.unwrap();
    assert!(matches!(&state, State::Broken(why) if why.contains("cut short")), "{state:?}");
    start(&spec, &context, within(MS)).await.unwrap();
    assert_eq!(status(&spec, &context, within(MS)).await, Ok(State::On));
}

#[tokio::test]
async fn what_a_dead_daemon_was_starting_is_not_off_because_its_status_program_says_so() {
    let lab = Lab::new();
    let context = lab.context("web");
    let looks = Some(command(&lab, "status", "exit 3"));
    let spec = Spec::Exec(ExecSpec { status: looks, ..service(&lab) });
    assert_eq!(status(&spec, &context, within(MS)).await, Ok(State::Off));
    // As a daemon leaves it that gets SIGKILL: its note stays, the program may go on.
    let told = lab.path("run/resources/g.web.told");
    std::fs::create_dir_all(told.parent().unwrap()).unwrap();
    std::fs::write(&told, "starting\n").unwrap();
    let state = status(&spec, &context, within(MS)).await.unwrap();
    assert!(matches!(&state, State::Broken(why) if why.contains("cut short")), "{state:?}");
    kill(&spec, &context, within(FENCE_MS)).await.unwrap();
    assert_eq!(status(&spec, &context, within(MS)).await, Ok(State::Off));
}

#[tokio::test]
async fn a_program_that_fails_is_quoted() {
    let lab = Lab::new();
    let body = "echo no config >&2; sleep 60 & exit 7";
    let spec = Spec::Exec(ExecSpec { start: command(&lab, "fail", body), ..service(&lab) });
    let failure = start(&spec, &lab.context("web"), within(MS)).await.unwrap_err();
    assert!(failure.cause.contains("exit status: 7: no config"), "{failure}");
    let spec = Spec::Exec(ExecSpec { stop: command(&lab, "fail", body), ..service(&lab) });
    assert!(stop(&spec, &lab.context("web"), within(MS)).await.is_err());
}

#[tokio::test]
async fn a_program_that_writes_without_end_does_not_fill_the_host() {
    let lab = Lab::new();
    // Some 15 MB a second, each line of them useless.
    let body = "while :; do head -c 300000 /dev/zero; sleep 0.02; done";
    let spec = Spec::Exec(ExecSpec { start: command(&lab, "yes", body), ..service(&lab) });
    start(&spec, &lab.context("web"), within(4_000)).await.unwrap_err();
    let size = std::fs::metadata(lab.path("run/resources/g.web.start.out")).unwrap().len();
    assert!(size < 12 << 20, "{size} bytes are still there");
}

#[tokio::test]
async fn the_exit_status_of_a_status_program_says_what_it_is() {
    let lab = Lab::new();
    let context = lab.context("web");
    let with = |body: &str| {
        let status = Some(command(&lab, "status", body));
        Spec::Exec(ExecSpec { status, ..service(&lab) })
    };
    assert_eq!(status(&with("exit 0"), &context, within(MS)).await, Ok(State::On));
    assert_eq!(status(&with("exit 3"), &context, within(MS)).await, Ok(State::Off));
    let state = status(&with("echo odd; exit 1"), &context, within(MS)).await.unwrap();
    assert!(matches!(&state, State::Broken(why) if why.contains("odd")), "{state:?}");
    assert!(status(&with("sleep 60"), &context, within(500)).await.is_err());
    // Two looks at once do not disturb each other.
    let slow = with("sleep 0.2");
    let (one, two) =
        tokio::join!(status(&slow, &context, within(MS)), status(&slow, &context, within(MS)));
    assert_eq!((one, two), (Ok(State::On), Ok(State::On)));
    // One that hangs does not keep the resource from being started.
    start(&with("sleep 60"), &context, within(8_000)).await.unwrap();
    kill(&slow, &context, within(FENCE_MS)).await.unwrap();
}

#[tokio::test]
async fn programs_are_told_whose_they_are_and_nothing_of_the_daemon() {
    let lab = Lab::new();
    let seen = lab.path("seen").display().to_string();
    let body = format!("env >{seen}; echo \"argument=$1\" >>{seen}; pwd >>{seen}");
    let spec = Spec::Exec(ExecSpec { start: command(&lab, "env", &body), ..service(&lab) });
    start(&spec, &lab.context("web"), within(MS)).await.unwrap();
    let seen = lab.text("seen");
    for line in [
        "LOCKSTEP_GROUP=g",
        "LOCKSTEP_RESOURCE=web",
        "LOCKSTEP_NODE=a",
        "LOCKSTEP_EVENT=start",
        "argument=an argument",
        "/",
    ] {
        assert!(seen.lines().any(|found| found == line), "{line}: {seen}");
    }
    assert!(!seen.contains("NOTIFY_SOCKET"));
}

#[tokio::test]
async fn a_program_that_cannot_be_run_says_why() {
    let lab = Lab::new();
    std::fs::write(lab.path("plain"), "text").unwrap();
    for (program, part) in [
        ("relative/path".into(), "absolute"),
        (lab.path("missing"), "No such file"),
        (lab.path("plain"), "not executable"),
        (lab.folder("folder"), "is no file"),
    ] {
        let start_with = Command { program, args: Vec::new() };
        let spec = Spec::Exec(ExecSpec { start: start_with, ..service(&lab) });
        let failure = start(&spec, &lab.context("web"), within(MS)).await.unwrap_err();
        assert!(failure.cause.contains(part), "{part}: {failure}");
    }
}

#[tokio::test]
async fn two_daemons_on_one_host_do_not_kill_each_others_programs() {
    if !is_root() {
        return;
    }
    let (one, two) = (Lab::new(), Lab::new());
    let (first, second) = (Spec::Exec(service(&one)), Spec::Exec(service(&two)));
    start(&first, &one.context("web"), within(MS)).await.unwrap();
    start(&second, &two.context("web"), within(MS)).await.unwrap();
    kill(&first, &one.context("web"), within(FENCE_MS)).await.unwrap();
    assert!(lives(&two.text("pid")));
    kill(&second, &two.context("web"), within(FENCE_MS)).await.unwrap();
}
