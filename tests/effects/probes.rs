//! Probes of disks, programs and resources; those of the network are with the addresses.

use crate::kit::{Lab, Loop, eventually, is_root, must, within};
use lockstep_ctl::act::probe::spec::{Found, Spec};
use lockstep_ctl::act::probe::{Surroundings, probe};
use lockstep_ctl::act::resource::spec::{self, Command};
use lockstep_ctl::act::resource::{Context, start, stop};
use std::fs;
use std::path::PathBuf;

fn around(context: &Context) -> Surroundings<'_> {
    Surroundings { context, resource: None, mirror: ("", None) }
}

/// Threads of this process that read disks.
fn readers() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap().filter_map(Result::ok);
    let name =
        |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).unwrap_or_default();
    tasks.map(name).filter(|name| name == "disk\n").count()
}

#[tokio::test]
async fn a_disk_that_can_be_read_is_fine_and_one_that_cannot_is_wrong() {
    if !is_root() {
        return;
    }
    let lab = Lab::new();
    let disk = Loop::new(&lab, "disk", 4);
    let context = lab.context("disk");
    let of = |paths: &[PathBuf]| Spec::Disk { paths: paths.to_vec() };
    let fine = of(std::slice::from_ref(&disk.device));
    for _ in 0..3 {
        assert_eq!(probe(&fine, around(&context), within(5_000)).await, Found::Fine);
    }
    let wrong = of(&[disk.device.clone(), "/dev/nonexistent".into()]);
    let found = probe(&wrong, around(&context), within(5_000)).await;
    assert!(matches!(&found, Found::Wrong(why) if why.contains("nonexistent")), "{found:?}");
    fs::File::options().write(true).open(lab.path("disk")).unwrap().set_len(8192).unwrap();
    let found = probe(&fine, around(&context), within(5_000)).await;
    assert!(matches!(&found, Found::Wrong(why) if why.contains("read at byte")), "{found:?}");
}

#[tokio::test]
async fn a_read_that_is_stuck_is_no_answer_then_wrong_and_gets_no_company() {
    let lab = Lab::new();
    let pipe = lab.path("pipe");
    must("mkfifo", &[pipe.to_str().unwrap()]);
    let context = lab.context("disk");
    let spec = Spec::Disk { paths: vec![pipe.clone()] };
    let found = probe(&spec, around(&context), within(50)).await;
    assert!(matches!(found, Found::NoAnswer(_)), "{found:?}");
    for _ in 0..5 {
        let found = probe(&spec, around(&context), within(50)).await;
        assert!(matches!(&found, Found::Wrong(why) if why.contains("stuck")), "{found:?}");
    }
    assert!(readers() >= 1);
    // A writer lets the open return.
    let writer = fs::File::options().read(true).write(true).open(&pipe).unwrap();
    let stuck = || lockstep_ctl::act::work::out_since(&format!("read {}", pipe.display()));
    eventually("the read is back", || stuck().is_none());
    drop(writer);
}

#[tokio::test]
async fn a_program_says_by_its_exit_status_whether_all_is_well() {
    let lab = Lab::new();
    let context = lab.context("check");
    let with =
        |body: &str| Spec::Exec(Command { program: lab.script("check", body), args: Vec::new() });
    assert_eq!(probe(&with("exit 0"), around(&context), within(5_000)).await, Found::Fine);
    let found = probe(&with("echo too hot; exit 1"), around(&context), within(5_000)).await;
    assert!(matches!(&found, Found::Wrong(why) if why.contains("too hot")), "{found:?}");
    let found = probe(&with("sleep 60"), around(&context), within(400)).await;
    assert!(matches!(&found, Found::Wrong(why) if why.contains("in time")), "{found:?}");
    let none = Spec::Exec(Command { program: lab.path("none"), args: Vec::new() });
    let found = probe(&none, around(&context), within(5_000)).await;
    assert!(matches!(found, Found::NoAnswer(_)), "{found:?}");
}

#[tokio::test]
async fn a_resource_is_fine_while_it_is_on() {
    let lab = Lab::new();
    let nothing = |name: &str| Command { program: lab.script(name, "exit 0"), args: Vec::new() };
    let resource = spec::Spec::Exec(spec::ExecSpec {
        start: nothing("start"),
        stop: nothing("stop"),
        status: None,
    });
    let (monitor, context) = (lab.context("web-monitor"), lab.context("web"));
    let spec = Spec::Resource { group: "g".to_owned(), resource: "web".to_owned() };
    let around = |resource| Surroundings { context: &monitor, resource, mirror: ("", None) };
    start(&resource, &context, within(5_000)).await.unwrap();
    let found = probe(&spec, around(Some((&resource, &context))), within(5_000)).await;
    assert_eq!(found, Found::Fine);
    stop(&resource, &context, within(5_000)).await.unwrap();
    let found = probe(&spec, around(Some((&resource, &context))), within(5_000)).await;
    assert_eq!(found, Found::Wrong("web is off".to_owned()));
    let found = probe(&spec, around(None), within(5_000)).await;
    assert!(matches!(found, Found::NoAnswer(_)), "{found:?}");
}
