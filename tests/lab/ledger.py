"""A program inside a host that says of numbered things that they are on disk, and what it said.

What it has said may be demanded back, whatever happens to its host."""

import threading

from .cluster import MOUNT
from .host import TOP
from .words import Failed, wait_for

FILES = TOP / "tests/lab/writer.py"
TRANSACTIONS = TOP / "tests/lab/transactions.py"


class Ledger:
    """What a writer on a host has said to be on disk."""

    def __init__(self, host, seed, program=FILES):
        self.last = -1
        self.program = program
        self.seed = str(seed)
        self.folder = f"{MOUNT}/{program.stem}-{seed}"
        self.text = b""
        self.end = None
        self.enough = threading.Event()
        self.thread = threading.Thread(target=self.follow, args=(host,), daemon=True)
        self.thread.start()

    def follow(self, host):
        """Until the host is gone, or it is enough."""
        said = []
        command = ["python3", self.program, "write", self.folder, self.seed]
        try:
            status = host.run(command, self.read, said.append, seconds=3600, stop=self.enough)
            words = b"".join(said).decode(errors="replace")
            self.end = f"the writer ended with status {status}: {words}"
        except Failed as failed:
            self.end = str(failed)

    def read(self, content):
        """Whole lines of what the writer says."""
        *lines, self.text = (self.text + content).split(b"\n")
        if lines:
            self.last = int(lines[-1])

    def stop(self):
        """Ends the writer, if its host has not; what it said before counts."""
        self.enough.set()
        self.thread.join()

    def wait_for(self, count):
        """Waits until so many files were flushed."""

        def enough():
            if self.end is not None:
                raise Failed(self.end)
            return self.last >= count

        wait_for(f"{count} numbers of {self.program.stem}", enough, 120)

    def check(self, host):
        """Everything that was said to be on disk is there, as it was."""
        host.tell("python3", self.program, "check", self.folder, self.seed, self.last, seconds=300)
