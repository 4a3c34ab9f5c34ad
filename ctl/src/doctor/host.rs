//! The host: kernel, its limits, memory that may be locked, the clock.

use super::{Around, Checks};
use crate::act::host;
use rustix::process::{Resource, getrlimit};
use std::fs;
use std::path::Path;

/// Oldest kernel that has what the engine's ring asks for.
const KERNEL_LEAST: (u32, u32) = (6, 1);
/// Descriptors that a daemon and an engine may need together.
const DESCRIPTORS_LEAST: u64 = 4_096;

pub(super) fn look(checks: &mut Checks, around: &Around<'_>) {
    kernel(checks, &rustix::system::uname().release().to_string_lossy());
    ring(checks, fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok().as_deref());
    let name = host::name();
    let wanted = &around.own.hosts[usize::from(around.own.node.to_byte()) - 1].name;
    if around.cluster.which(&name) == Some(around.own.node) {
        checks.pass("host name", format!("{name}, node {}", around.own.node));
    } else {
        checks.warn(
            "host name",
            format!("this host is {name}, node {} is {wanted} in the file", around.own.node),
            "correct `name` of the node, or give --node to every command",
        );
    }
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if files < DESCRIPTORS_LEAST {
        checks.warn(
            "open files",
            format!("{files} descriptors allowed to a process of this session"),
            "the shipped units raise it; for daemons started by hand: `ulimit -n 65536`",
        );
    } else {
        checks.pass("open files", format!("{files} descriptors allowed"));
    }
    kernel_device(checks, around);
    clock(checks);
}

fn kernel(checks: &mut Checks, release: &str) {
    let mut parts = release.split(['.', '-']).map(str::parse::<u32>);
    let version = match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor),
        _ => {
            return checks.skip("kernel", format!("{release}: not understood"), "see `uname -r`");
        }
    };
    if version < KERNEL_LEAST {
        let (major, minor) = KERNEL_LEAST;
        checks.fail("kernel", release, format!("boot Linux {major}.{minor} or later"));
    } else {
        checks.pass("kernel", release);
    }
}

/// `text` is of the switch that turns io_uring off; older kernels have none.
fn ring(checks: &mut Checks, text: Option<&str>) {
    match text.map(str::trim) {
        None | Some("0") => checks.pass("io_uring", "allowed"),
        Some("1") => checks.warn(
            "io_uring",
            "allowed to root and one group only (kernel.io_uring_disabled = 1)",
            "run the engines as root, or set `sysctl kernel.io_uring_disabled=0`",
        ),
        Some(_) => checks.fail(
            "io_uring",
            "switched off (kernel.io_uring_disabled = 2)",
            "set `sysctl kernel.io_uring_disabled=0`; the engine has no other way to a disk",
        ),
    }
}

/// Volumes that are shown as block devices need the kernel's client.
fn kernel_device(checks: &mut Checks, around: &Around<'_>) {
    if around.own.engines.iter().all(|engine| engine.device.is_none()) {
        return;
    }
    if Path::new("/sys/module/nbd").exists() || Path::new("/sys/block/nbd0").exists() {
        checks.pass("kernel module nbd", "loaded");
    } else {
        checks.fail(
            "kernel module nbd",
            "not loaded, and a volume has a `device`",
            "`modprobe nbd`, and name it in /etc/modules-load.d/lockstep.conf",
        );
    }
}

/// Nothing is decided by wall clocks, but people compare logs.
fn clock(checks: &mut Checks) {
    let synchronized = Path::new("/run/systemd/timesync/synchronized").exists();
    let others = ["/run/chrony", "/var/run/ntpd.pid", "/run/ntpsec"];
    if synchronized || others.iter().any(|path| Path::new(path).exists()) {
        checks.pass("clock", "kept by a time service");
    } else {
        checks.warn(
            "clock",
            "no time service was found; nothing is decided by it, but logs are compared by it",
            "install systemd-timesyncd or chrony",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    fn verdict(look: impl FnOnce(&mut Checks)) -> Verdict {
        let mut checks = Checks { area: "host", all: Vec::new() };
        look(&mut checks);
        assert_eq!(checks.all.len(), 1, "{checks:?}");
        checks.all[0].verdict
    }

    #[test]
    fn kernels_are_read_and_old_ones_refused() {
        assert_eq!(verdict(|c| kernel(c, "6.1.0-13-cloud-amd64")), Verdict::Pass);
        assert_eq!(verdict(|c| kernel(c, "7.0")), Verdict::Pass);
        assert_eq!(verdict(|c| kernel(c, "5.15.0")), Verdict::Fail);
        assert_eq!(verdict(|c| kernel(c, "custom")), Verdict::Skipped);
    }

    #[test]
    fn a_kernel_without_the_ring_is_no_kernel() {
        assert_eq!(verdict(|c| ring(c, None)), Verdict::Pass);
        assert_eq!(verdict(|c| ring(c, Some("0\n"))), Verdict::Pass);
        assert_eq!(verdict(|c| ring(c, Some("1\n"))), Verdict::Warn);
        assert_eq!(verdict(|c| ring(c, Some("2\n"))), Verdict::Fail);
    }
}
