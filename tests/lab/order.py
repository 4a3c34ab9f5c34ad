"""The order of writes on the standby: whatever its disk has made durable, at any flush, is a state
that the file system accepts. dm-log-writes lies below the standby's engine and keeps the order."""

import time

from .cluster import MOUNT, Cluster
from .host import DISKS, EXTRA, TOP
from .ledger import FILES as FILES_PROGRAM
from .ledger import TRANSACTIONS, Ledger
from .words import Failed, step

# MiB of the data disk: every state of it is examined, and xfs wants 300.
DATA = 321
# MiB of the disks that the log, and the copy that is put into each state, need.
DISKS_MORE = {"log": 3000, "copy": DATA, "spare": DATA}
# MiB of a host: dm-log-writes keeps there what is not flushed.
MEMORY = 1024
MAPPED = "/dev/mapper/data"
MARK = "mounted"
FILES = 10
COMMITS = 25
FLUSHES_MIN = 50
REPLAY = TOP / "tests/lab/replay.py"


def map_data(host, table):
    """The data disk of a host under another name, with something in between."""
    sectors = host.tell("blockdev", "--getsz", DISKS["data"]).strip()
    host.sh(
        "modprobe dm-mod; modprobe dm-log-writes; modprobe dm-snapshot\n"
        f"dmsetup create data --table '0 {sectors} {table}'"
    )


def run(lab, fs):
    """One file system."""
    begun = time.monotonic()
    cluster = Cluster(lab, fs, MAPPED)
    a, b = lab.host("a"), lab.host("b")
    with step(f"cluster for {fs}, a log of writes below the standby"):
        lab.up()
        map_data(a, f"linear {DISKS['data']} 0")
        map_data(b, f"log-writes {DISKS['data']} {EXTRA['log']}")
        cluster.install()
        cluster.start("a")
        cluster.start("b")
        cluster.create()
        cluster.wait_in_sync("a")
    with step("files and transactions are written on a"):
        a.tell("sync", "-f", MOUNT)
        b.tell("dmsetup", "message", "data", "0", "mark", MARK)
        # Every flush costs an examination: no more than it takes to have all kinds of them.
        for seed, program, count in ((0, FILES_PROGRAM, FILES), (2, TRANSACTIONS, COMMITS)):
            ledger = Ledger(a, seed, program)
            ledger.wait_for(count)
            ledger.stop()
        last = ledger.last
        a.tell("sync", "-f", MOUNT)
    with step("the standby lets go of its disk"):
        # The daemon first: it would start another engine.
        b.sh("pkill -KILL -x lockstep; pkill -KILL -x lockstep-engine || true")
        b.tell("dmsetup", "remove", "--retry", "data")
        # It would look at every state, too.
        b.sh("udevadm control --exit")
    with step("every state of the standby's disk is examined"):
        command = ["python3", REPLAY, EXTRA["log"], EXTRA["copy"], EXTRA["spare"], fs, MARK]
        said = b.tell(*command, seconds=3000).split()
        flushes, states, transactions = (int(word) for word in said[-3:])
        if flushes < FLUSHES_MIN:
            raise Failed(f"only {flushes} flushes, at least {FLUSHES_MIN} were expected")
        if transactions <= last:
            raise Failed(f"{transactions} transactions in the last state, {last + 1} committed")
    print(
        f"{'':4}{flushes} flushes, {states} states, each accepted by fsck;"
        f" {transactions} transactions at the end"
    )
    print(f"{f'order of writes holds on {fs}':58}{time.monotonic() - begun:8.1f} s")
