"""The long test: loses the primary over and over under a database, gives blocks back, moves the
group. The hosts stay, so that what one round leaves is what the next one finds."""

import random
import time

from .cluster import DEVICE, GROUP, MOUNT, Cluster
from .ledger import TRANSACTIONS, Ledger
from .words import Failed, step

# What there is besides the order of writes.
PARTS = ("blocks", "moves", "rounds")
# Transactions that are committed before a host is lost; how many more is left to chance.
COMMITS_MIN = 100
COMMITS_MORE = 400
# Seconds that a host may take to have everything up after the loss of the other.
TAKEOVER_SECONDS = 60
# MiB that discards are tried on.
PIECE = 64
# Bytes of a disk that a file system needs for itself, at most.
MARGIN = 48 << 20
OTHER = {"a": "b", "b": "a"}


def started(lab, fs="ext4"):
    """A cluster whose group runs on a."""
    cluster = Cluster(lab, fs)
    with step("two kernels boot, with an etcd in a third place"):
        lab.up()
    with step("cluster: formatted, daemons and engines run"):
        cluster.install()
        cluster.start("a")
        cluster.start("b")
    with step(f"mirror made, served on a; mkfs.{fs}; group mounts it"):
        cluster.create()
        cluster.wait_in_sync("a")
    return cluster


def data_bytes(image):
    """Bytes of a disk that are not zero, in whole pieces. What the kernel of a host gives back is
    zeros in the file behind its disk, set aside as before."""
    zeros, total = bytes(64 << 10), 0
    with open(image, "rb") as disk:
        while piece := disk.read(len(zeros)):
            total += len(piece) if piece != zeros[: len(piece)] else 0
    return total


def discards(cluster):
    """Blocks that are given back or zeroed are so on both sides, and nothing else is."""
    host = cluster.lab.host("a")
    cluster.take_down("a")
    piece = PIECE << 20
    with step("blkdiscard and blkzeroout on the device"):
        host.sh(
            f"dd if=/dev/urandom of={DEVICE} bs=1M count={3 * PIECE} oflag=direct status=none\n"
            f"blkdiscard -o {piece} -l {piece} {DEVICE}\n"
            f"blkdiscard -z -o {2 * piece} -l {piece} {DEVICE}\n"
            f"cmp -n {piece} -i {2 * piece}:0 {DEVICE} /dev/zero",
            seconds=300,
        )
        cluster.wait_images_equal()
        for one in cluster.lab.hosts.values():
            with open(one.image("data"), "rb") as image:
                first, discarded, zeroed = (image.read(piece) for _ in range(3))
            if first.count(0) > piece // 100 or any(discarded) or any(zeroed):
                raise Failed(f"disk of {one.name}: what was zeroed is not zero, or too much is")
    cluster.make_fs("a")
    cluster.bring_up("a")
    with step("fstrim of the mounted file system"):
        said = host.sh(
            f"dd if=/dev/urandom of={MOUNT}/big bs=1M count={PIECE} status=none; sync -f {MOUNT}\n"
            f"rm {MOUNT}/big; sync -f {MOUNT}; fstrim -v {MOUNT}; sync -f {MOUNT}",
            seconds=300,
        )
        if ": 0 B" in said:
            raise Failed(f"fstrim gave nothing back: {said.strip()}")
        cluster.wait_images_equal()
        for one in cluster.lab.hosts.values():
            if data_bytes(one.image("data")) > MARGIN:
                raise Failed(f"disk of {one.name}: what was trimmed is still there")
    cluster.fsck("a")


def moves(cluster):
    """The group goes to the other host and back, in order, with everything in it."""
    for number, (old, new) in enumerate((("a", "b"), ("b", "a"))):
        ledger = Ledger(cluster.lab.host(old), number, TRANSACTIONS)
        ledger.wait_for(COMMITS_MIN)
        ledger.stop()
        begun = time.monotonic()
        with step(f"the group moves from {old} to {new}, with mirror, file system and program"):
            cluster.verb(old, "group", "move", GROUP)
            cluster.wait_on(new)
        print(f"{'':4}{time.monotonic() - begun:.1f} s until everything was up")
        ledger.check(cluster.lab.host(new))
        cluster.wait_in_sync(new)
        if cluster.lab.host(old).run(["test", "-e", "/run/app.on"]) == 0:
            raise Failed(f"the program runs on {old}, too")
        cluster.wait_images_equal()
        cluster.fsck(new)


def rounds(cluster, count):
    """The primary is lost under a database, the other takes over, everything that was committed is
    there; the lost one returns, and is primary and lost in the round after."""
    dice = random.Random(count)
    primary, takeovers, commits = "a", [], 0
    for number in range(1, count + 1):
        standby, fs = OTHER[primary], ("ext4", "xfs")[number % 2]
        lab = cluster.lab
        with step(f"round {number} of {count}: {fs}, {primary} is lost, {standby} goes on"):
            cluster.replace_fs(primary, fs)
            ledger = Ledger(lab.host(primary), 2 * number + number // 2 % 2, TRANSACTIONS)
            ledger.wait_for(COMMITS_MIN + dice.randrange(COMMITS_MORE))
            lab.host(primary).crash()
            begun = time.monotonic()
            ledger.stop()
            cluster.wait_on(standby, TAKEOVER_SECONDS)
            takeovers.append(time.monotonic() - begun)
            ledger.check(lab.host(standby))
            cluster.fsck(standby)
            commits += ledger.last + 1
            # It goes on alone, so that there is something to bring the other one.
            alone = Ledger(lab.host(standby), 1000 + number, TRANSACTIONS)
            alone.wait_for(COMMITS_MIN)
            cluster.come_back(primary)
            alone.wait_for(alone.last + 10)
            alone.stop()
            for one in (ledger, alone):
                one.check(lab.host(standby))
            lab.host(standby).tell("sync", "-f", MOUNT)
            cluster.wait_images_equal()
        primary = standby
    takeovers.sort()
    print(
        f"{'':4}{commits} committed transactions before the losses, none missing; everything up"
        f" after {takeovers[len(takeovers) // 2]:.1f} s (median),"
        f" {takeovers[-1]:.1f} s (longest)"
    )


def run(lab, parts, count):
    """These parts of it."""
    begun = time.monotonic()
    cluster = started(lab)
    if "blocks" in parts:
        discards(cluster)
    if "moves" in parts:
        moves(cluster)
    if "rounds" in parts:
        rounds(cluster, count)
    what = "passed: " + ", ".join(parts)
    print(f"{what:58}{time.monotonic() - begun:8.1f} s")
