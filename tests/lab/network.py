"""The network of a lab: one namespace with two bridges and a tap device for each card.

`cable` is the private link between the hosts, which can be cut; `care` is where commands reach
them and where the arbiter is. Neither has a way out of the namespace."""

import ctypes
import os
import socket
from contextlib import contextmanager

from .words import Failed, run

LINK = {"a": "10.79.0.1", "b": "10.79.0.2"}
CARE = {"a": "10.79.1.1", "b": "10.79.1.2"}
# The namespace itself on `care`: where commands come from, and the third place.
HERE = "10.79.1.3"
THIRD = "10.79.1.4"
CLONE_NEWNET = 0x40000000


def is_over(pid):
    """Whether a process has ended, asked for or not."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


class Network:
    """The namespace and what is in it."""

    def __init__(self, name):
        self.name = name

    def ip(self, *command, check=True):
        """`ip` inside the namespace."""
        return run("ip", "-n", self.name, *command, check=check)

    def make(self):
        """Makes everything; what is left of a lab of that name goes first."""
        self.remove()
        run("ip", "netns", "add", self.name)
        self.ip("link", "set", "lo", "up")
        for bridge in ("cable", "care"):
            self.ip("link", "add", "name", bridge, "type", "bridge", "forward_delay", "0")
            self.ip("link", "set", bridge, "up")
            for host in "ab":
                tap = f"{bridge}-{host}"
                self.ip("tuntap", "add", tap, "mode", "tap")
                self.ip("link", "set", tap, "master", bridge)
                self.ip("link", "set", tap, "up")
        for address in (HERE, THIRD):
            self.ip("address", "add", f"{address}/24", "dev", "care")

    def remove(self):
        """Takes the namespace away; one that is not there is no fault."""
        run("ip", "netns", "delete", self.name, check=False)

    def is_there(self):
        """Whether the namespace exists."""
        return os.path.exists(f"/run/netns/{self.name}")

    def processes(self):
        """Processes that are still inside and alive."""
        inside = run("ip", "netns", "pids", self.name, check=False).split()
        return [pid for pid in inside if not is_over(pid)]

    def cut(self):
        """Cuts the cable: nothing passes, and neither card notices."""
        self.ip("link", "set", "cable-b", "nomaster")

    def heal(self):
        """Mends it."""
        self.ip("link", "set", "cable-b", "master", "cable")

    def inside(self, *command):
        """The command as it runs in the namespace, under its own process id."""
        return ["ip", "netns", "exec", self.name, *[str(part) for part in command]]

    @contextmanager
    def entered(self):
        """What is opened here is opened in the namespace."""
        libc = ctypes.CDLL(None, use_errno=True)

        def enter(handle):
            if libc.setns(handle, CLONE_NEWNET) != 0:
                raise Failed(f"namespace {self.name}: {os.strerror(ctypes.get_errno())}")

        with open("/proc/self/ns/net", "rb") as home:
            try:
                with open(f"/run/netns/{self.name}", "rb") as away:
                    enter(away.fileno())
            except FileNotFoundError:
                raise Failed("the lab is not up; `scripts/lab up` first") from None
            try:
                yield
            finally:
                enter(home.fileno())

    def connect(self, address, port, seconds):
        """A connection from inside the namespace."""
        with self.entered():
            return socket.create_connection((address, port), timeout=seconds)
