//! Unmounting what somebody uses.

use crate::file_systems::spec;
use crate::kit::{Background, Lab, Loop, is_root, must, within};
use lockstep_ctl::act::resource::spec::{FsKind, FsSpec, Spec};
use lockstep_ctl::act::resource::{State, start, status, stop};
use std::path::Path;

/// Ways to keep a file system busy, each with the word for it.
const WAYS: &[(&str, &str)] = &[
    ("echo ready; sleep 60", "working directory"),
    ("exec 5>held; cd /; echo ready; sleep 60", "open file"),
    ("p=$PWD; cp /bin/sleep .; cd /; \"$p/sleep\" 60 & sleep 0.3; echo ready; wait", "program"),
];

async fn mounted(lab: &Lab, disk: &Loop, kill_holders: bool) -> Spec {
    let at = lab.folder("mnt");
    let plain = spec(&disk.device, &at, FsKind::Ext4);
    let spec = Spec::Fs(FsSpec { kill_holders, ..plain });
    start(&spec, &lab.context("data"), within(20_000)).await.unwrap();
    spec
}

#[tokio::test]
async fn holders_are_named_and_left_alone_unless_they_may_be_killed() {
    if !is_root() {
        return;
    }
    let lab = Lab::new();
    let disk = Loop::with_ext4(&lab, "disk");
    let context = lab.context("data");
    for (script, word) in WAYS {
        let spec = mounted(&lab, &disk, false).await;
        let mut holder = Background::shell(&lab.path("mnt"), script);
        let failure = stop(&spec, &context, within(1_000)).await.unwrap_err();
        assert!(failure.cause.contains(word) && failure.cause.contains("(pid "), "{failure}");
        assert!(failure.hint.contains("kill_holders"), "{failure}");
        assert!(!holder.ended());
        assert_eq!(status(&spec, &context, within(5_000)).await, Ok(State::On));
        let spec = mounted(&lab, &disk, true).await;
        stop(&spec, &context, within(8_000)).await.unwrap();
        assert_eq!(status(&spec, &context, within(5_000)).await, Ok(State::Off));
    }
}

#[tokio::test]
async fn a_holder_that_ignores_sigterm_is_killed() {
    if !is_root() {
        return;
    }
    let lab = Lab::new();
    let disk = Loop::with_ext4(&lab, "disk");
    let spec = mounted(&lab, &disk, true).await;
    let script = "trap '' TERM; echo ready; while :; do sleep 1; done";
    let mut holder = Background::shell(&lab.path("mnt"), script);
    stop(&spec, &lab.context("data"), within(8_000)).await.unwrap();
    assert!(holder.ended());
}

#[tokio::test]
async fn a_holder_that_ends_by_itself_is_waited_for() {
    if !is_root() {
        return;
    }
    let lab = Lab::new();
    let disk = Loop::with_ext4(&lab, "disk");
    let spec = mounted(&lab, &disk, false).await;
    let _holder = Background::shell(&lab.path("mnt"), "echo ready; sleep 1");
    stop(&spec, &lab.context("data"), within(20_000)).await.unwrap();
}

#[tokio::test]
async fn a_mount_below_is_named_and_nobody_is_killed_for_it() {
    if !is_root() {
        return;
    }
    let lab = Lab::new();
    let disk = Loop::with_ext4(&lab, "disk");
    let spec = mounted(&lab, &disk, true).await;
    let below = lab.folder("mnt/below");
    must("mount", &["-t", "tmpfs", "none", below.to_str().unwrap()]);
    let mut holder = Background::shell(&lab.path("mnt"), "echo ready; sleep 60");
    let failure = stop(&spec, &lab.context("data"), within(20_000)).await.unwrap_err();
    assert!(failure.cause.contains("mnt/below"), "{failure}");
    assert!(!holder.ended());
    must("umount", &[below.to_str().unwrap()]);
    stop(&spec, &lab.context("data"), within(20_000)).await.unwrap();
}

#[tokio::test]
async fn a_copy_of_the_mount_in_another_namespace_keeps_the_device_and_is_found() {
    if !is_root() {
        return;
    }
    let lab = Lab::new();
    let disk = Loop::with_ext4(&lab, "disk");
    let spec = mounted(&lab, &disk, false).await;
    let context = lab.context("data");
    let script = "exec unshare --mount --propagation private sh -c 'echo ready; exec sleep 60'";
    let mut holder = Background::shell(Path::new("/"), script);
    let failure = stop(&spec, &context, within(1_500)).await.unwrap_err();
    assert!(failure.cause.contains("mount namespace"), "{failure}");
    assert!(!holder.ended());
    let Spec::Fs(plain) = spec else { panic!("a file system") };
    let spec = Spec::Fs(FsSpec { kill_holders: true, ..plain });
    stop(&spec, &context, within(8_000)).await.unwrap();
    assert!(holder.ended());
}
