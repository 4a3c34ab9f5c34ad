//! Mounting and checking.

use crate::kit::{Lab, Loop, is_root, must, within};
use lockstep_ctl::act::resource::spec::{FsKind, FsSpec, Fsck, Spec};
use lockstep_ctl::act::resource::{State, start, status, stop};
use std::fs;
use std::path::Path;

/// Longest of one effect here.
const MS: u64 = 20_000;

pub fn spec(device: &Path, mount_point: &Path, kind: FsKind) -> FsSpec {
    FsSpec {
        device: device.to_owned(),
        mount_point: mount_point.to_owned(),
        kind,
        options: "defaults,noatime".to_owned(),
        fsck: Fsck::Never,
        mount_retries: 1,
        kill_holders: false,
    }
}

#[track_caller]
fn broken(state: &State, part: &str) {
    assert!(matches!(state, State::Broken(why) if why.contains(part)), "{part}: {state:?}");
}

async fn goes_up_and_down_twice(lab: &Lab, device: &Path, kind: FsKind) {
    let at = lab.folder("mnt");
    let spec = Spec::Fs(FsSpec { fsck: Fsck::Always, ..spec(device, &at, kind) });
    let context = lab.context("data");
    assert_eq!(status(&spec, &context, within(MS)).await, Ok(State::Off));
    for round in ["one", "two"] {
        start(&spec, &context, within(MS)).await.unwrap();
        start(&spec, &context, within(MS)).await.unwrap();
        assert_eq!(status(&spec, &context, within(MS)).await, Ok(State::On));
        fs::write(at.join(round), round).unwrap();
        stop(&spec, &context, within(MS)).await.unwrap();
        stop(&spec, &context, within(MS)).await.unwrap();
        assert_eq!(status(&spec, &context, within(MS)).await, Ok(State::Off));
        assert!(!at.join(round).exists());
    }
    start(&spec, &context, within(MS)).await.unwrap();
    assert_eq!(fs::read_to_string(at.join("one")).unwrap(), "one");
    stop(&spec, &context, within(MS)).await.unwrap();
}

#[tokio::test]
async fn an_ext4_goes_up_and_down_any_number_of_times() {
    if !is_root() {
        return;
    }
    let lab = Lab::new();
    let disk = Loop::with_ext4(&lab, "disk");
    goes_up_and_down_twice(&lab, &disk.device, FsKind::Ext4).await;
}

#[tokio::test]
async fn an_xfs_goes_up_and_down_any_number_of_times() {
    if !is_root() {
        return;
    }
    let lab = Lab::new();
    let disk = Loop::with_xfs(&lab, "disk");
    goes_up_and_down_twice(&lab, &disk.device, FsKind::Xfs).await;
}

#[tokio::test]
async fn an_xfs_that_shut_down_is_broken_and_its_log_is_replayed_before_the_check() {
    if !is_root() {
        return;
    }
    let lab = Lab::new();
    let disk = Loop::with_xfs(&lab, "disk");
    let at = lab.folder("mnt");
    let plain = spec(&disk.device, &at, FsKind::Xfs);
    let spec = Spec::Fs(FsSpec { fsck: Fsck::Always, ..plain });
    let context = lab.context("data");
    start(&spec, &context, within(MS)).await.unwrap();
    fs::write(at.join("kept"), "kept").unwrap();
    // With the log flushed, so that there is something to replay.
    must("xfs_io", &["-x", "-c", "shutdown -f", at.to_str().unwrap()]);
    let state = status(&spec, &context, within(MS)).await.unwrap();
    assert!(matches!(state, State::Broken(_)), "{state:?}");
    stop(&spec, &context, within(MS)).await.unwrap();
    start(&spec, &context, within(MS)).await.unwrap();
    assert!(at.join("kept").exists());
    stop(&spec, &context, within(MS)).await.unwrap();
}

#[tokio::test]
async fn a_damaged_file_system_is_not_mounted() {
    if !is_root() {
        return;
    }
    let lab = Lab::new();
    let disk = Loop::with_ext4(&lab, "disk");
    must("debugfs", &["-w", "-R", "clri <2>", disk.name()]);
    let plain = spec(&disk.device, &lab.folder("mnt"), FsKind::Ext4);
    let spec = Spec::Fs(FsSpec { fsck: Fsck::Every(1), ..plain });
    let context = lab.context("data");
    let failure = start(&spec, &context, within(MS)).await.unwrap_err();
    let shown = failure.to_string();
    assert!(shown.contains("check /dev/loop") && shown.contains("e2fsck /dev/"), "{shown}");
    assert_eq!(status(&spec, &context, within(MS)).await, Ok(State::Off));
}

#[tokio::test]
async fn every_third_mount_is_preceded_by_a_whole_check() {
    if !is_root() {
        return;
    }
    let lab = Lab::new();
    let disk = Loop::with_ext4(&lab, "disk");
    let plain = spec(&disk.device, &lab.folder("mnt"), FsKind::Ext4);
    let spec = Spec::Fs(FsSpec { fsck: Fsck::Every(3), ..plain });
    let context = lab.context("data");
    let mut checked = Vec::new();
    for _ in 0..6 {
        let _ = fs::remove_file(lab.path("run/resources/g.data.fsck.out"));
        start(&spec, &context, within(MS)).await.unwrap();
        stop(&spec, &context, within(MS)).await.unwrap();
        checked.push(lab.text("run/resources/g.data.fsck.out").contains("files"));
    }
    assert_eq!(checked, [false, false, true, false, false, true]);
}

#[tokio::test]
async fn a_mount_that_cannot_be_says_why_and_what_to_do() {
    if !is_root() {
        return;
    }
    let lab = Lab::new();
    let empty = Loop::new(&lab, "empty", 16);
    let at = lab.folder("mnt");
    let good = spec(&empty.device, &at, FsKind::Ext4);
    let cases = [
        (good.clone(), "is there an ext4 file system on /dev/loop"),
        (FsSpec { device: "/dev/nonexistent".into(), ..good.clone() }, "is the volume attached"),
        (FsSpec { device: lab.path("empty"), ..good.clone() }, "is no block device"),
        (FsSpec { mount_point: lab.path("nowhere"), ..good.clone() }, "mkdir -p"),
        (FsSpec { mount_point: lab.path("empty"), ..good.clone() }, "is no directory"),
        (FsSpec { fsck: Fsck::Always, ..good.clone() }, "is there an ext4 file system"),
        (FsSpec { fsck: Fsck::Always, kind: FsKind::Xfs, ..good }, "is there an XFS file system"),
    ];
    for (spec, part) in cases {
        let spec = Spec::Fs(spec);
        let context = lab.context("data");
        let failure = start(&spec, &context, within(MS)).await.unwrap_err().to_string();
        assert!(failure.starts_with("data: ") && failure.contains(part), "{part}: {failure}");
        stop(&spec, &context, within(MS)).await.unwrap();
    }
}

#[tokio::test]
async fn what_others_have_mounted_is_left_alone() {
    if !is_root() {
        return;
    }
    let lab = Lab::new();
    let (disk, other) = (Loop::with_ext4(&lab, "disk"), Loop::with_ext4(&lab, "other"));
    let (at, aside) = (lab.folder("mnt"), lab.folder("aside"));
    let spec = Spec::Fs(spec(&disk.device, &at, FsKind::Ext4));
    let context = lab.context("data");

    must("mount", &[other.name(), at.to_str().unwrap()]);
    broken(&status(&spec, &context, within(MS)).await.unwrap(), other.name());
    let failure = start(&spec, &context, within(MS)).await.unwrap_err();
    assert!(failure.hint.contains("umount"), "{failure}");
    stop(&spec, &context, within(MS)).await.unwrap();
    must("mountpoint", &["-q", at.to_str().unwrap()]);
    must("umount", &[at.to_str().unwrap()]);

    must("mount", &[disk.name(), aside.to_str().unwrap()]);
    broken(&status(&spec, &context, within(MS)).await.unwrap(), "aside");
    assert!(start(&spec, &context, within(MS)).await.is_err());
    let failure = stop(&spec, &context, within(1_000)).await.unwrap_err();
    assert!(failure.cause.contains("aside"), "{failure}");
    must("umount", &[aside.to_str().unwrap()]);
}

#[tokio::test]
async fn a_file_system_that_became_read_only_is_broken() {
    if !is_root() {
        return;
    }
    let lab = Lab::new();
    let disk = Loop::with_ext4(&lab, "disk");
    let at = lab.folder("mnt");
    let writable = spec(&disk.device, &at, FsKind::Ext4);
    let spec = Spec::Fs(writable.clone());
    let context = lab.context("data");
    start(&spec, &context, within(MS)).await.unwrap();
    must("mount", &["-o", "remount,ro", at.to_str().unwrap()]);
    broken(&status(&spec, &context, within(MS)).await.unwrap(), "read-only");
    assert!(start(&spec, &context, within(MS)).await.is_err());
    stop(&spec, &context, within(MS)).await.unwrap();
    let wanted = Spec::Fs(FsSpec { options: "ro".to_owned(), ..writable });
    start(&wanted, &context, within(MS)).await.unwrap();
    assert_eq!(status(&wanted, &context, within(MS)).await, Ok(State::On));
    stop(&wanted, &context, within(MS)).await.unwrap();
}
