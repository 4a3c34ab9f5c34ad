"""Runs inside a host: writes files for as long as it lives, and says of each that it is on disk.

    writer.py write FOLDER SEED          a line `NUMBER` for each file that was flushed
    writer.py check FOLDER SEED NUMBER   whether everything up to that number is there

A number leaves only after the file and its directory entry were flushed, so whoever has read it may
demand the file back, whatever happens to the host. A file goes only when its successor in the same
slot is on disk. What is in a file follows from seed and number."""

import os
import random
import sys

SLOTS = 200
SIZES = [100, 4096, 10_000, 65_536, 300_000]


def content(seed, number):
    """The bytes of a file."""
    dice = random.Random(f"{seed}/{number}")
    return dice.randbytes(dice.choice(SIZES))


def path(folder, number):
    """Where a file is."""
    return os.path.join(folder, f"{number % SLOTS:03}-{number:06}")


def write(folder, seed):
    """Writes until it is killed."""
    os.makedirs(folder)
    above = os.open(os.path.dirname(folder), os.O_RDONLY)
    os.fsync(above)
    directory = os.open(folder, os.O_RDONLY)
    number = 0
    while True:
        file = os.open(path(folder, number), os.O_WRONLY | os.O_CREAT, 0o644)
        with open(file, "wb", closefd=True) as sink:
            sink.write(content(seed, number))
            sink.flush()
            os.fsync(file)
        os.fsync(directory)
        print(number, flush=True)
        if number >= SLOTS:
            os.unlink(path(folder, number - SLOTS))
        number += 1


def check(folder, seed, last):
    """Faults: each slot has its file, or a later one in its place, with what was written."""
    faults = []
    for number in range(max(0, last + 1 - SLOTS), last + 1):
        # A successor that nobody has heard of may have taken the place.
        there = [n for n in range(number, last + 10 * SLOTS, SLOTS) if os.path.exists(path(folder, n))]
        if not there:
            faults.append(f"{path(folder, number)} is not there")
        elif open(path(folder, there[0]), "rb").read() != content(seed, there[0]):
            faults.append(f"{path(folder, there[0])} is not what was written")
    return faults


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(sys.argv[2], sys.argv[3])
    found = check(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    print("\n".join(found))
    sys.exit(1 if found else 0)
