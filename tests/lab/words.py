"""What every part of the lab needs: its errors, and a command run to its end."""

import subprocess
import time
from contextlib import contextmanager

# Exit statuses of scripts/lab, beside 0 and the status of a command that it ran.
FAILED = 1
USAGE = 2
# This machine can't run the lab. Not a failure of what was to be tested.
NOT_HERE = 77


class Failed(Exception):
    """Something that can't go on; the text says what, why and what next."""


class NotHere(Exception):
    """This machine can't run the lab; the text says why and what would help."""


def run(*command, check=True, **options):
    """Runs a command to its end and returns its output."""
    words = [str(part) for part in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False, **options)
    if check and done.returncode != 0:
        text = (done.stderr or done.stdout).strip()
        raise Failed(f"{' '.join(words)}: exit {done.returncode}: {text}")
    return done.stdout


def wait_for(what, condition, seconds=20, pause=0.05):
    """Waits until `condition` gives something, and returns it; names what did not come."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise Failed(f"{what} did not come within {seconds} s")
        time.sleep(pause)


@contextmanager
def step(what):
    """Prints what is done, and then how long it took."""
    begun = time.monotonic()
    print(f"{what:58}", end="", flush=True)
    try:
        yield
    except BaseException:
        print(f"{time.monotonic() - begun:8.1f} s  FAILED", flush=True)
        raise
    print(f"{time.monotonic() - begun:8.1f} s", flush=True)
