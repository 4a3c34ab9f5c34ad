"""Runs inside a host: puts a disk into each state that a flush made durable, and looks at it.

    replay.py LOG COPY SPARE FS MARK

LOG is what the kernel's dm-log-writes wrote: every write to a disk, in the order in which a flush
made it durable. COPY is given the state at each flush after the mark; a snapshot of it, kept in
SPARE, is mounted, so that the file system's own journal does its work, then unmounted and examined.
So is, now and then, the same state with a part of what the next flush made durable, by chance, as
after a loss of power on the way. The database that lies there is whole, and loses no transaction from one flush to
the next. The last line is `FLUSHES STATES TRANSACTIONS`."""

import glob
import os
import random
import sqlite3
import struct
import subprocess
import sys

MAGIC = 0x6A736677736872
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8
PLACE = "/run/replay"
NAME = "state"
# Without udev, which does not run any more.
ALONE = ("--noudevsync", "--noudevrules")
# One in so many flushes is looked at half done, too.
HALF_DONE = 3


def call(*command):
    """Runs a command that must succeed."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(words)}: exit {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


class Log:
    """The log, entry by entry: flags, offset, length, and the bytes or a mark's text."""

    def __init__(self, path):
        self.file = open(path, "rb")
        magic, version, self.count, self.unit = struct.unpack("<QQQI", self.file.read(28))
        if magic != MAGIC or version != 1:
            raise SystemExit(f"{path} holds no log of writes: magic {magic:x}, version {version}")

    def __iter__(self):
        at = self.unit
        for _ in range(self.count):
            self.file.seek(at)
            head = self.file.read(self.unit)
            sector, sectors, flags, length = struct.unpack("<QQQQ", head[:32])
            at += self.unit
            offset, size = sector * self.unit, sectors * self.unit
            if flags & MARK:
                yield flags, 0, 0, head[32 : 32 + length].rstrip(b"\0").decode()
                continue
            content = None
            if not flags & DISCARD:
                content = self.file.read(size)
                at += size
            yield flags, offset, size, content


def apply(target, write):
    """One write or discard; what was discarded becomes zeros, as the disk does it."""
    offset, size, content = write
    os.pwrite(target, bytes(size) if content is None else content, offset)


def mapped():
    """The node of the snapshot: of the kernel's own making, as nothing else makes one."""
    for shown in glob.glob("/sys/block/dm-*/dm/name"):
        with open(shown, encoding="ascii") as name:
            if name.read().strip() == NAME:
                return "/dev/" + shown.split("/")[3]
    raise SystemExit(f"{NAME} is not in /sys/block")


class States:
    """The disk's states, one after the other."""

    def __init__(self, copy, spare, fs):
        self.copy, self.spare, self.fs = copy, spare, fs
        self.sectors = int(call("blockdev", "--getsz", copy))
        self.target = os.open(copy, os.O_RDWR)
        self.looked = self.last = 0
        os.makedirs(PLACE, exist_ok=True)

    def look(self, some=()):
        """Examines the present state, with some further writes in a snapshot of it."""
        os.fsync(self.target)
        table = f"0 {self.sectors} snapshot {self.copy} {self.spare} N 8"
        call("dmsetup", *ALONE, "create", NAME, "--table", table)
        device = mapped()
        if some:
            snapshot = os.open(device, os.O_RDWR)
            for write in some:
                apply(snapshot, write)
            os.fsync(snapshot)
            os.close(snapshot)
        call("mount", "-t", self.fs, device, PLACE)
        count = self.transactions()
        call("umount", PLACE)
        check = {"ext4": ["e2fsck", "-f", "-n"], "xfs": ["xfs_repair", "-n"]}
        call(*check[self.fs], device)
        call("dmsetup", *ALONE, "remove", "--retry", NAME)
        self.looked += 1
        if count < self.last:
            raise SystemExit(f"state {self.looked}: {count} transactions, {self.last} before")
        # Only what a flush has made durable may be demanded later.
        self.last = self.last if some else count

    def transactions(self):
        """Transactions in the database, which is whole; 0 while there is none."""
        found = [name for name in os.listdir(PLACE) if name.startswith("transactions")]
        path = found and os.path.join(PLACE, found[0], "bank.db")
        if not path or not os.path.exists(path):
            return 0
        database = sqlite3.connect(path)
        try:
            rows = database.execute("PRAGMA integrity_check").fetchall()
            if rows != [("ok",)]:
                raise SystemExit(f"state {self.looked + 1}: the database is damaged: {rows[:3]}")
            tables = database.execute("SELECT name FROM sqlite_master WHERE name = 'entry'")
            if not tables.fetchall():
                return 0
            return database.execute("SELECT count(*) FROM entry").fetchone()[0]
        finally:
            database.close()


def main(log, copy, spare, fs, mark):
    """Every flush after the mark."""
    dice = random.Random(1)
    states = States(copy, spare, fs)
    begun, flushes, waiting = False, 0, []
    for flags, offset, size, content in Log(log):
        if flags & MARK:
            begun = begun or content == mark
            continue
        if size:
            waiting.append((offset, size, content))
        if not flags & (FLUSH | FUA):
            continue
        if begun and waiting and flushes % HALF_DONE == 0:
            # Power was lost on the way to this flush: any part of it is there.
            states.look([write for write in waiting if dice.random() < 0.5])
        for write in waiting:
            apply(states.target, write)
        if begun and waiting:
            flushes += 1
            states.look()
        waiting = []
    print(flushes, states.looked, states.last)


if __name__ == "__main__":
    main(*sys.argv[1:])
