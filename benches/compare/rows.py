"""What is measured, against whom, and the goal as a ratio in the same run."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    work: str
    group: str
    options: tuple = ()
    # "iops" or "bytes_per_s".
    unit: str = "iops"
    # Whom the goal is measured against, and the least ratio.
    against: str = "quorum"
    goal: float = 1.0
    # Most CPU as a ratio, where there is such a goal.
    goal_cpu: float | None = None
    # Part of the other's result that counts: two copies on one disk can reach half of it.
    share: float = 1.0


@dataclass(frozen=True)
class Group:
    """Rows that share their servers."""

    name: str
    kind: str
    contestants: tuple
    # Round trip added to the link, in microseconds.
    round_trip_us: int = 0
    rows: tuple = field(default=())


def fio_options(rw, bs, depth, *more):
    """Options of fio as one tuple."""
    return (f"--rw={rw}", f"--bs={bs}", f"--iodepth={depth}", "--randrepeat=0", *more)


WRITE_1 = fio_options("randwrite", "4k", 1)
WRITE_32 = fio_options("randwrite", "4k", 32)

GROUPS = (
    Group("memory", "memory", ("lockstep", "quorum", "raw")),
    Group("delay", "memory", ("lockstep", "quorum"), round_trip_us=1000),
    Group("disk", "disk", ("lockstep", "quorum", "raw")),
    Group("read", "memory", ("lockstep-solo", "qemu-nbd", "nbdkit", "raw")),
)

ROWS = (
    Row("write-1", "memory, mirrored 4 KiB random write, depth 1", "memory", WRITE_1, goal=1.5),
    Row(
        "write-32",
        "memory, mirrored 4 KiB random write, depth 32",
        "memory",
        WRITE_32,
        goal=2.5,
        goal_cpu=0.4,
    ),
    Row(
        "sequential",
        "memory, 128 KiB sequential write, depth 8",
        "memory",
        fio_options("write", "128k", 8),
        unit="bytes_per_s",
        goal=1.5,
    ),
    Row(
        "flush",
        "memory, 4 KiB random write with a flush after each",
        "memory",
        fio_options("randwrite", "4k", 1, "--fsync=1"),
        goal=1.5,
    ),
    Row("delay-1", "memory, 1 ms round trip, 4 KiB, depth 1", "delay", WRITE_1, goal=1.1),
    Row("delay-32", "memory, 1 ms round trip, 4 KiB, depth 32", "delay", WRITE_32, goal=2.0),
    Row(
        "disk-32",
        "disk, mirrored 4 KiB random write, depth 32, against half of raw",
        "disk",
        WRITE_32,
        against="raw",
        share=0.5,
        goal=0.85,
    ),
    Row(
        "read-32",
        "memory, front end alone, 4 KiB random read, depth 32",
        "read",
        fio_options("randread", "4k", 32),
        against="qemu-nbd",
        goal=1.0,
    ),
)

# Measured by functions of their own.
RESYNC = "resync"
ENGINE_MEMORY = "engine-memory"
RESYNC_GOAL = 0.8
ENGINE_MEMORY_GOAL_BYTES = 256 << 20

NAMES = tuple(row.name for row in ROWS) + (RESYNC, ENGINE_MEMORY)
