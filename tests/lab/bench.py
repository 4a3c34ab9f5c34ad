"""The kernel's device beside DRBD and md, on the same two hosts: a table in Markdown.

Every round sets each contestant up on fresh disks; a number is the median over the rounds."""

import json
import sys
import threading
import time
from statistics import median

from .contestants import ALL
from .words import Failed

# What fio does: name, pattern, block size, depth.
ROWS = (
    ("4 KiB random write, depth 1", "randwrite", "4k", 1),
    ("4 KiB random write, depth 16", "randwrite", "4k", 16),
    ("64 KiB random write, depth 8", "randwrite", "64k", 8),
    ("1 MiB write, depth 8", "write", "1M", 8),
    ("4 KiB random read, depth 16", "randread", "4k", 16),
)
# Milliseconds that are added to a round trip.
ROUND_TRIPS = (0, 1)
# MiB that are in use, all of them written once before anything is measured.
REGION = 256
# Seconds of the load under which host b is lost, and when it is.
LOSS_SECONDS = 16
LOSS_AT = 3
PAUSE = "longest pause after the loss of the peer"
RESYNC = f"resync of {REGION} MiB"
# Contestants of which only the loss is measured: what they do before it is the same as another's.
LOSS_ONLY = ("drbd",)


def fio(host, device, rw, size, depth, *more, seconds=600):
    """Runs a job of fio on a host, and returns what it says."""
    said = host.tell(
        *("fio", "--name=cell", f"--filename={device}", f"--size={REGION}M", f"--rw={rw}"),
        *(f"--bs={size}", f"--iodepth={depth}", "--direct=1", "--ioengine=libaio"),
        *("--randrepeat=0", "--output-format=json", *more),
        seconds=seconds,
    )
    job = json.loads(said[said.index("{\n") :])["jobs"][0]
    if job["error"]:
        raise Failed(f"fio on {device}: error {job['error']}")
    return job["read" if rw == "randread" else "write"]


def fill(host, device):
    """Writes the whole region."""
    fio(host, device, "write", "1M", 8, "--end_fsync=1")


def rates(lab, contestant, seconds, note):
    """Every row with every round trip, in operations a second."""
    for round_trip in ROUND_TRIPS:
        for host in lab.hosts.values():
            host.delay(round_trip / 2)
        for row, rw, size, depth in ROWS:
            contestant.settle()
            timed = ("--time_based", f"--runtime={seconds}", "--ramp_time=0.5")
            result = fio(lab.host("a"), contestant.device, rw, size, depth, *timed)
            note(f"{row}, +{round_trip} ms", result["iops"])
    for host in lab.hosts.values():
        host.delay(0)


def loss(lab, contestant, note):
    """Loses host b under load, writes everything anew, and takes b back."""
    host, other = lab.host("a"), lab.host("b")
    contestant.settle()
    timer = threading.Timer(LOSS_AT, other.crash)
    timer.start()
    timed = ("--time_based", f"--runtime={LOSS_SECONDS}")
    result = fio(host, contestant.device, "randwrite", "4k", 1, *timed)
    timer.join()
    note(PAUSE, result["clat_ns"]["max"] / 1e9)
    fill(host, contestant.device)
    other.boot()
    begun = time.monotonic()
    contestant.come_back()
    note(RESYNC, time.monotonic() - begun)


def shown(what, value):
    """A number for people."""
    if value is None:
        return "–"
    return f"{value:.1f} s" if what in (PAUSE, RESYNC) else f"{value:,.0f} IOPS"


def table(results, names, count):
    """The table."""
    yield f"Medians of {count}; two User-Mode Linux hosts with one CPU each on one machine."
    yield ""
    yield "| work | " + " | ".join(names) + " |"
    yield "|---|" + "---|" * len(names)
    for what, values in results.items():
        middle = [median(values[name]) if name in values else None for name in names]
        yield f"| {what} | " + " | ".join(shown(what, value) for value in middle) + " |"


def run(within, count, seconds, names):
    """All rounds. `within` does something in a new lab."""
    contestants = [one for one in ALL if not names or one.name in names]
    results = {f"{row[0]}, +{trip} ms": {} for trip in ROUND_TRIPS for row in ROWS}
    results |= {PAUSE: {}, RESYNC: {}}
    for number in range(count):
        # Each is the first once: what else the machine does meets all of them.
        at = number % len(contestants)
        for kind in contestants[at:] + contestants[:at]:

            def note(what, value, kind=kind, number=number):
                results[what].setdefault(kind.name, []).append(value)
                text = f"round {number + 1}, {kind.name}: {what}: {shown(what, value)}"
                print(text, file=sys.stderr, flush=True)

            def work(lab, kind=kind, note=note):
                lab.up()
                contestant = kind(lab)
                contestant.start()
                fill(lab.host("a"), contestant.device)
                if kind.name not in LOSS_ONLY:
                    rates(lab, contestant, seconds, note)
                loss(lab, contestant, note)

            within(work)
    print("\n".join(table(results, [kind.name for kind in contestants], count)))
