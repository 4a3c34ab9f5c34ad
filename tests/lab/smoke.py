"""One round: mount, write, lose engines, links and the host, go on, check everything, come back.

Each step prints the seconds that it took."""

import time

from . import faults
from .cluster import GROUP, MOUNT, Cluster
from .ledger import Ledger
from .words import Failed, step

# Files that the writer must have flushed before its host is lost.
FILES_MIN = 400
# MiB of a file that is larger than the memory of a host.
BIG = 700
TREE = f"{MOUNT}/tree"


def paused(milliseconds):
    """The longest pause of a step that is over."""
    print(f"{'':4}longest pause of a request: {milliseconds / 1000:.1f} s")


def check_tree(host):
    """The tree is what it was when its checksums were made."""
    host.sh(f"cd {TREE} && sha256sum --quiet --strict -c /mnt/lab/tree.sums", seconds=300)


def make_tree(lab, host):
    """Copies a tree of the host's own onto the volume, and keeps its checksums apart from it."""
    host.sh(
        f"mkdir -p {TREE} && cp -a /usr/share/perl5 {TREE}/ 2>/dev/null || true\n"
        f"cp -a /etc {TREE}/ && sync -f {MOUNT}\n"
        f"cd {TREE} && find . -type f -print0 | xargs -0 sha256sum > /mnt/lab/tree.sums",
        seconds=300,
    )
    sums = (lab.host("a").folder / "own" / "tree.sums").read_text()
    for other in lab.hosts.values():
        (other.folder / "own" / "tree.sums").write_text(sums)


def overflow(host):
    """Dirties more pages than the host has memory, which must not wait for themselves (SAFETY R35
    to R40); then gives the blocks back."""
    free = int(host.sh("awk '/^MemTotal/ { print int($2 / 1024) }' /proc/meminfo"))
    if free > BIG:
        raise Failed(f"{free} MiB of memory are too many for this test; --memory below {BIG}")
    made = f"yes lockstep | head -c {BIG}M"
    host.sh(
        # `yes` ends by a signal, as it should.
        f"set +o pipefail; {made} > {MOUNT}/big; sync -f {MOUNT}; echo 3 > /proc/sys/vm/drop_caches\n"
        f"cmp <({made}) {MOUNT}/big; rm {MOUNT}/big; fstrim {MOUNT}",
        seconds=300,
    )


def run(lab, fs="ext4"):
    """The round."""
    begun = time.monotonic()
    cluster = Cluster(lab, fs)
    a, b = lab.host("a"), lab.host("b")
    with step("two kernels boot, with an etcd in a third place"):
        lab.up()
    with step("cluster: formatted, daemons and engines run"):
        cluster.install()
        cluster.start("a")
        cluster.start("b")
    with step(f"mirror made, served on a; mkfs.{cluster.fs}; group mounts it"):
        cluster.create()
    with step("a tree is copied onto it"):
        make_tree(lab, a)
    with step(f"{BIG} MiB are written through less memory, read, trimmed"):
        overflow(a)
    with step(f"at least {FILES_MIN} files written and flushed"):
        ledger = Ledger(a, 1)
        ledger.wait_for(FILES_MIN)
    with step("host a is lost; b takes over and mounts"):
        a.crash()
        ledger.stop()
        cluster.wait_on("b", 120)
    with step(f"all {ledger.last + 1} flushed files and the tree are there"):
        ledger.check(b)
        check_tree(b)
    with step("file system check on b"):
        cluster.fsck("b")
    with step("b goes on alone: more files"):
        alone = Ledger(b, 2)
        alone.wait_for(250)
    with step("host a returns; both copies become equal"):
        a.boot()
        cluster.start("a")
        cluster.wait_in_sync("b")
    with step("verify compares both copies"):
        cluster.verb("b", "mirror", "verify", seconds=300)
    alone.stop()
    with step("the group moves back to a, in order"):
        cluster.verb("b", "group", "move", GROUP, seconds=120)
        cluster.wait_on("a")
    with step(f"all {alone.last + 1} files and the tree are there; file system check"):
        ledger.check(a)
        alone.check(a)
        check_tree(a)
        cluster.fsck("a")
    for signal, what in (("KILL", "killed"), ("TERM", "stopped")):
        with step(f"the engine is {what} under a load that is verified"):
            pause = faults.restart_engine(cluster, "a", signal)
        paused(pause)
    with step("link and arbiter are away for 35 s under such a load"):
        pause = faults.hold(cluster, "a", 35)
    paused(pause)
    with step("a is cut off: it lets go, b takes over, a follows"):
        faults.fence(cluster, "a", "b")
    with step("everything is there on b, too; file system check"):
        ledger.check(b)
        alone.check(b)
        check_tree(b)
        cluster.fsck("b")
    print(f"{'smoke test passed':58}{time.monotonic() - begun:8.1f} s")
