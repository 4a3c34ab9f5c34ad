//! A file system on a block device. Always: it is on only when `/proc/self/mountinfo` shows the
//! device on the mount point, and off only when nobody on this host has the device in use. Survives
//! calls that hang in the kernel: no second one is sent while one is out.

use super::fsck::{self, Checked, Due};
use super::holders::{self, Holder};
use super::mount_options;
use super::mounts::{self, Mount};
use super::spec::{FsKind, FsSpec};
use super::{Context, Failure, State};
use crate::act::{clock, work};
use lockstep_engine::units::{Span, Tick};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::Signal;
use std::ffi::CString;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Pause between attempts: the kernel tells nobody when a device or a mount is free.
const PAUSE: Span = Span::millis(200);
/// Time that a volume's device has to come, after the engine has begun to serve.
const COMING_MAX: Span = Span::millis(5_000);
/// Longest time for which holders may end by themselves, and longest time after SIGTERM.
const POLITE_MAX: Span = Span::millis(5_000);

/// What is mounted where.
enum Truth {
    /// The device is on the mount point, and nothing hides it.
    Ours(Mount),
    /// The device is on the mount point, below another mount.
    Hidden {
        by: Mount,
    },
    /// Something else is on the mount point.
    Foreign(Mount),
    /// The device is mounted at another place.
    Elsewhere(PathBuf),
    Nothing,
}

/// A look at the world.
struct Look {
    truth: Truth,
    /// The mount point without symbolic links.
    at: PathBuf,
    /// Numbers of the device, while it is there and a block device.
    device: Option<(u32, u32)>,
    /// Mounts below the mount point.
    below: Vec<PathBuf>,
}

pub(super) async fn start(spec: &FsSpec, context: &Context, deadline: Tick) -> Result<(), Failure> {
    let doing = format!("mount {} on {}", spec.device.display(), spec.mount_point.display());
    let fail = |cause: String, hint: String| context.failure(&doing, cause, hint);
    let looked = look(spec, context, deadline).await?;
    match &looked.truth {
        Truth::Ours(found) => {
            return match wrong_with(spec, found) {
                None => Ok(()),
                Some(wrong) => Err(fail(wrong, "stop the resource, then start it".to_owned())),
            };
        }
        Truth::Hidden { by } | Truth::Foreign(by) => {
            let cause = format!("{} is mounted there", by.source.display());
            return Err(fail(cause, format!("umount {}", looked.at.display())));
        }
        Truth::Elsewhere(at) => {
            let cause = format!("it is mounted on {}", at.display());
            return Err(fail(cause, format!("umount {}", at.display())));
        }
        Truth::Nothing => {}
    }
    await_device(spec, deadline).await;
    usable(spec).map_err(|(cause, hint)| fail(cause, hint))?;
    let due = fsck::due(spec, context);
    if fsck::check(spec, due, context, deadline).await? == Checked::NeedsReplay {
        attach(spec, context, deadline).await?;
        detach(spec, context, deadline).await?;
        if fsck::check(spec, due, context, deadline).await? == Checked::NeedsReplay {
            let cause = "its log can't be replayed";
            let hint = format!("run `xfs_repair {}` by hand", spec.device.display());
            return Err(fail(cause.to_owned(), hint));
        }
    }
    attach(spec, context, deadline).await?;
    fsck::count(spec, context, due == Due::Whole);
    Ok(())
}

pub(super) async fn stop(spec: &FsSpec, context: &Context, deadline: Tick) -> Result<(), Failure> {
    detach(spec, context, deadline).await
}

pub(super) async fn status(
    spec: &FsSpec,
    context: &Context,
    deadline: Tick,
) -> Result<State, Failure> {
    let shown = spec.mount_point.display();
    if let Some(since) = work::out_since(&key(spec)) {
        let stuck = work::Unfinished::Busy { since };
        return Ok(State::Broken(format!("{shown}: {stuck}")));
    }
    let looked = look(spec, context, deadline).await?;
    let found = match looked.truth {
        Truth::Ours(found) => found,
        Truth::Nothing => return Ok(State::Off),
        Truth::Hidden { by } | Truth::Foreign(by) => {
            let source = by.source.display();
            return Ok(State::Broken(format!("{shown}: {source} is mounted there")));
        }
        Truth::Elsewhere(at) => {
            let (device, at) = (spec.device.display(), at.display());
            return Ok(State::Broken(format!("{device} is mounted on {at}, not on {shown}")));
        }
    };
    if let Some(wrong) = wrong_with(spec, &found) {
        return Ok(State::Broken(format!("{shown}: {wrong}")));
    }
    let at = looked.at;
    let key = format!("list {shown}");
    let listing =
        move || std::fs::read_dir(at).and_then(|mut entries| entries.next().transpose()).map(drop);
    match work::run_alone("fs", &key, deadline, listing).await {
        Ok(Ok(())) => Ok(State::On),
        Ok(Err(cause)) => Ok(State::Broken(format!("{shown} can't be read: {cause}"))),
        Err(cause) => {
            Err(context.failure(&format!("read {shown}"), cause, "is the volume holding its I/O?"))
        }
    }
}

fn key(spec: &FsSpec) -> String {
    format!("mount {}", spec.mount_point.display())
}

/// What is wrong with a file system that is mounted where it should be.
fn wrong_with(spec: &FsSpec, found: &Mount) -> Option<String> {
    let wants_ro = mount_options::parse(&spec.options).flags.contains(MountFlags::RDONLY);
    if !wants_ro && (found.has("ro") || found.has("emergency_ro")) {
        return Some("it has become read-only, as after an error of its device".to_owned());
    }
    found.has("shutdown").then(|| "it has shut itself down after an error".to_owned())
}

/// Waits for a device that is on its way: it is shown, and named, a moment after its volume is
/// promoted.
async fn await_device(spec: &FsSpec, deadline: Tick) {
    let until = clock::now().after(COMING_MAX).min(deadline);
    while !has_content(&spec.device) {
        let next = clock::now().after(PAUSE);
        if next >= until {
            return;
        }
        tokio::time::sleep(clock::until(next)).await;
    }
}

/// Whether it is a block device that is larger than nothing; the device itself is not opened.
fn has_content(device: &Path) -> bool {
    let Ok(found) = std::fs::metadata(device) else { return false };
    let number = found.rdev();
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    let size = std::fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/size"));
    // Without /sys, the mount says what is wrong.
    found.file_type().is_block_device() && size.map_or(true, |size| size.trim() != "0")
}

/// Why the mount can't be tried, and what to do.
fn usable(spec: &FsSpec) -> Result<(), (String, String)> {
    let device = spec.device.display();
    match std::fs::metadata(&spec.device) {
        Err(cause) => {
            let hint = "is the volume attached on this node, and the path right?".to_owned();
            return Err((format!("{device}: {cause}"), hint));
        }
        Ok(found) if !found.file_type().is_block_device() => {
            let cause = format!("{device} is no block device");
            return Err((cause, "check `device` of the resource".to_owned()));
        }
        Ok(_) => {}
    }
    let at = spec.mount_point.display();
    match std::fs::metadata(&spec.mount_point) {
        Err(cause) => Err((format!("{at}: {cause}"), format!("mkdir -p {at} on this node"))),
        Ok(found) if !found.is_dir() => {
            Err((format!("{at} is no directory"), "check `mount_point`".to_owned()))
        }
        Ok(_) => Ok(()),
    }
}

async fn look(spec: &FsSpec, context: &Context, deadline: Tick) -> Result<Look, Failure> {
    let doing = format!("look at {}", spec.mount_point.display());
    let (device, at) = (spec.device.clone(), spec.mount_point.clone());
    let looking = work::run_alone("fs", &doing, deadline, move || look_now(&device, &at));
    match looking.await {
        Ok(Ok(look)) => Ok(look),
        Ok(Err(cause)) => Err(context.failure(&doing, cause, "is /proc mounted?")),
        Err(cause) => Err(context.failure(&doing, cause, "is the volume holding its I/O?")),
    }
}

fn look_now(device: &Path, at: &Path) -> io::Result<Look> {
    let at = std::fs::canonicalize(at).unwrap_or_else(|_| at.to_owned());
    let mounts = mounts::read()?;
    let found = std::fs::metadata(device).ok().filter(|found| found.file_type().is_block_device());
    let numbers =
        found.map(|found| (rustix::fs::major(found.rdev()), rustix::fs::minor(found.rdev())));
    let ours = |mount: &&Mount| match numbers {
        Some(numbers) => mount.device == numbers,
        None => mount.source == device,
    };
    let stack = mounts::stack(&mounts, &at);
    let truth = match stack.last() {
        Some(top) if ours(top) => Truth::Ours((*top).clone()),
        Some(top) if stack.iter().any(ours) => Truth::Hidden { by: (*top).clone() },
        Some(top) => Truth::Foreign((*top).clone()),
        None => match mounts.iter().find(ours) {
            Some(other) => Truth::Elsewhere(other.at.clone()),
            None => Truth::Nothing,
        },
    };
    let below = mounts::below(&mounts, &at).iter().map(|mount| mount.at.clone()).collect();
    Ok(Look { truth, at, device: numbers, below })
}

/// Mounts it, again after errors that may pass.
async fn attach(spec: &FsSpec, context: &Context, deadline: Tick) -> Result<(), Failure> {
    let doing = format!("mount {} on {}", spec.device.display(), spec.mount_point.display());
    let mut left = spec.mount_retries;
    loop {
        let wanted = spec.clone();
        let mounting = move || mount_now(&wanted);
        let errno = match work::run_alone("mount", &key(spec), deadline, mounting).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(errno)) => errno,
            Err(cause) => {
                let hint = "it may still come; the next start or stop waits for it";
                return Err(context.failure(&doing, cause, hint));
            }
        };
        let passes = matches!(
            errno,
            Errno::BUSY | Errno::IO | Errno::NXIO | Errno::NOENT | Errno::AGAIN | Errno::NOMEM
        );
        let next = clock::now().after(PAUSE);
        if !passes || left == 0 || next >= deadline {
            return Err(context.failure(&doing, io::Error::from(errno), mount_hint(spec, errno)));
        }
        left -= 1;
        tracing::warn!(doing, cause = %errno, left, "mount failed; trying again");
        tokio::time::sleep(clock::until(next)).await;
    }
}

fn mount_now(spec: &FsSpec) -> Result<(), Errno> {
    let options = mount_options::parse(&spec.options);
    let data = CString::new(options.data).map_err(|_| Errno::INVAL)?;
    let kind = kind_name(spec.kind);
    mount(&spec.device, &spec.mount_point, kind, options.flags, data.as_c_str())
}

fn kind_name(kind: FsKind) -> &'static str {
    match kind {
        FsKind::Ext4 => "ext4",
        FsKind::Xfs => "xfs",
    }
}

fn mount_hint(spec: &FsSpec, errno: Errno) -> String {
    let (device, kind) = (spec.device.display(), kind_name(spec.kind));
    let text = match errno {
        Errno::INVAL => {
            return format!(
                "is there an {kind} file system on {device}, and does it know the options \"{}\"? \
                 the kernel's log (`dmesg`) says more",
                spec.options
            );
        }
        Errno::NODEV => return format!("this kernel has no {kind}: load the module {kind}"),
        Errno::UCLEAN => return format!("it is damaged: check it where {device} is primary"),
        Errno::PERM | Errno::ACCESS => "the daemon needs CAP_SYS_ADMIN; is the device read-only?",
        Errno::ROFS => "the device is read-only: is this node its primary?",
        Errno::BUSY => "something else has the device or the mount point in use: see `lsblk`",
        _ => "the kernel's log (`dmesg`) says more",
    };
    text.to_owned()
}

/// Unmounts it until nobody on this host has the device in use.
async fn detach(spec: &FsSpec, context: &Context, deadline: Tick) -> Result<(), Failure> {
    let doing = format!("unmount {}", spec.mount_point.display());
    let began = clock::now();
    let total = deadline.since(began);
    let polite = began.after(Span(total.0 / 4).min(POLITE_MAX));
    let hard = polite.after(Span(total.0 / 4).min(POLITE_MAX));
    // The last look at holders needs time too.
    let last = began.after(Span(total.0 - total.0 / 8));
    let mut asked = false;
    loop {
        let looked = look(spec, context, deadline).await?;
        let here = match &looked.truth {
            Truth::Hidden { by } => {
                let cause = format!("{} is mounted over it", by.source.display());
                let hint = format!("umount {}", looked.at.display());
                return Err(context.failure(&doing, cause, hint));
            }
            Truth::Ours(_) => true,
            Truth::Foreign(_) | Truth::Elsewhere(_) | Truth::Nothing => false,
        };
        let step = step_off(spec, here, &looked);
        let freed = work::run_alone("unmount", &key(spec), deadline, step).await;
        match freed {
            Ok(Ok(())) if here => continue,
            Ok(Ok(())) => return Ok(()),
            // Somebody else was faster.
            Ok(Err(Errno::INVAL)) if here => {}
            Ok(Err(Errno::BUSY)) => {}
            Ok(Err(errno)) => {
                let hint = "the kernel's log (`dmesg`) says more";
                return Err(context.failure(&doing, io::Error::from(errno), hint));
            }
            Err(cause) => {
                let hint = "is the volume holding its I/O? the next stop waits for this one";
                return Err(context.failure(&doing, cause, hint));
            }
        }
        let now = clock::now();
        // What is mounted below does not go away by itself, and killing would not help.
        let ends = now >= last || (here && !looked.below.is_empty());
        if ends || (spec.kill_holders && now >= polite) {
            let holders = find(&looked, here, deadline).await;
            if ends {
                return Err(busy(spec, context, &looked, &holders));
            }
            let signal = if !asked || now < hard { Signal::TERM } else { Signal::KILL };
            if !asked || now >= hard {
                tracing::warn!(doing, holders = holders::shown(&holders), ?signal, "killed");
                send(holders, &looked, signal, deadline).await;
            }
            asked = true;
        }
        tokio::time::sleep(clock::until(clock::now().after(PAUSE).min(last))).await;
    }
}

/// The call that brings the world one step nearer to off: the unmount, or the proof that the
/// device is free (a copy of the mount in another mount namespace keeps it).
fn step_off(
    spec: &FsSpec,
    here: bool,
    looked: &Look,
) -> impl FnOnce() -> Result<(), Errno> + Send + 'static {
    let (device, at) = (spec.device.clone(), looked.at.clone());
    let there = looked.device.is_some();
    move || {
        if here {
            return unmount(at, UnmountFlags::NOFOLLOW);
        }
        if !there {
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NONBLOCK;
        match rustix::fs::open(device, flags, Mode::empty()) {
            Err(Errno::BUSY) => Err(Errno::BUSY),
            // A device without a volume behind it is free.
            _ => Ok(()),
        }
    }
}

async fn find(looked: &Look, here: bool, deadline: Tick) -> Vec<Holder> {
    let Some(device) = looked.device else { return Vec::new() };
    match work::run("holders", deadline, move || holders::find(device, !here)).await {
        Ok(found) => found,
        Err(cause) => {
            tracing::warn!(%cause, "holders of a mount can't be found");
            Vec::new()
        }
    }
}

async fn send(found: Vec<Holder>, looked: &Look, signal: Signal, deadline: Tick) {
    let Some(device) = looked.device else { return };
    let sending = move || holders::signal(&found, device, signal);
    if let Err(cause) = work::run("holders", deadline, sending).await {
        tracing::warn!(%cause, "holders of a mount can't be killed");
    }
}

fn busy(spec: &FsSpec, context: &Context, looked: &Look, holders: &[Holder]) -> Failure {
    let doing = format!("unmount {}", spec.mount_point.display());
    let device = spec.device.display();
    if !looked.below.is_empty() {
        let below: Vec<String> = looked.below.iter().map(|at| at.display().to_string()).collect();
        let cause = format!("mounted below it: {}", below.join(", "));
        return context.failure(&doing, cause, "unmount those first, or make them resources");
    }
    if let Truth::Elsewhere(at) = &looked.truth {
        let cause = format!("{device} is mounted on {} too", at.display());
        return context.failure(&doing, cause, format!("umount {}", at.display()));
    }
    if holders.is_empty() {
        let cause = format!("{device} is in use, but by no process that can be seen");
        let hint = "look for swap files, loop devices, NFS exports and containers on it";
        return context.failure(&doing, cause, hint);
    }
    let cause = format!("in use by {}", holders::shown(holders));
    let hint = if spec.kill_holders {
        "SIGKILL did not end them: they wait in the kernel"
    } else {
        "end them, or set `kill_holders`"
    };
    context.failure(&doing, cause, hint)
}
