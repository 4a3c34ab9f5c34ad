"""Runs inside a host: writes files for as long as it lives, and says of each that it is on disk.

A line `NAME SHA256` leaves only after the file and its directory entry were flushed, so whoever has
read the line may demand the file back, whatever happens to the host."""

import hashlib
import os
import random
import sys


def main(folder, seed):
    """Writes until it is killed."""
    os.makedirs(folder, exist_ok=True)
    dice = random.Random(seed)
    directory = os.open(folder, os.O_RDONLY)
    number = 0
    while True:
        name = f"{number:06}"
        content = dice.randbytes(dice.choice([100, 4096, 10_000, 65_536, 300_000]))
        # Names are used again, so that later files lie where earlier ones did.
        path = os.path.join(folder, f"{number % 200:03}-{name}")
        old = os.path.join(folder, f"{number % 200:03}-{number - 200:06}")
        if number >= 200:
            print(f"- {os.path.basename(old)}", flush=True)
            os.unlink(old)
        file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
        os.write(file, content)
        os.fsync(file)
        os.close(file)
        os.fsync(directory)
        print(f"{os.path.basename(path)} {hashlib.sha256(content).hexdigest()}", flush=True)
        number += 1


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
