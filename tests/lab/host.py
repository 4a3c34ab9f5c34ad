"""One host of the lab: a Linux kernel that runs as a program, over files of one folder.

Everything that the host wrote and flushed is in its two images and in `own/`, and outlives it."""

import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

from . import needs
from .agent import PORT
from .network import CARE, LINK, THIRD, is_over
from .words import Failed, NotHere, run, wait_for

TOP = Path(__file__).resolve().parent.parent.parent
DISKS = {"data": "/dev/ubda", "cluster": "/dev/ubdb"}
# What a lab may have besides; `extra` of its settings says which, in MiB.
EXTRA = {"log": "/dev/ubdc", "copy": "/dev/ubdd", "spare": "/dev/ubde"}
BOOT_SECONDS = 60
# Characters of a console that are shown when its host does not come.
CONSOLE = 1500
# What a kernel says first; one that ends without that can't run on this machine at all.
STARTED = "Linux version"


def started_at(pid):
    """When a process began, in ticks; a number that is used again has another one."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return None


class Process:
    """A process that the lab started, as a note that later commands of the lab can read."""

    def __init__(self, note):
        self.note = note

    def start(self, command, log, folder):
        """Starts it, apart from the terminal and from this program."""
        with open(log, "ab") as sink:
            pid = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=folder,
            ).pid
        self.note.write_text(json.dumps({"pid": pid, "began": started_at(pid)}))

    def pid(self):
        """Its process id while it runs, and never that of another process."""
        try:
            note = json.loads(self.note.read_text())
        except FileNotFoundError:
            return None
        alive = note["began"] is not None and started_at(note["pid"]) == note["began"]
        if alive and is_zombie(note["pid"]):
            return None
        return note["pid"] if alive else None

    def kill(self):
        """Ends it and what it started, at once."""
        pid = self.pid()
        if pid is not None:
            os.killpg(pid, signal.SIGKILL)
            wait_for(f"the end of process {pid}", lambda: self.pid() is None)
        self.note.unlink(missing_ok=True)


def is_zombie(pid):
    """Whether a process has ended and its parent, maybe this program, has not asked."""
    try:
        if os.waitpid(pid, os.WNOHANG)[0] == pid:
            return True
    except ChildProcessError:
        pass
    return is_over(pid)


class Host:
    """One of the two."""

    def __init__(self, name, folder, network, settings):
        self.name = name
        self.folder = folder / name
        self.network = network
        self.settings = settings
        self.console = self.folder / "console.log"
        self.process = Process(self.folder / "kernel.json")

    def image(self, disk):
        """The file behind a disk."""
        return self.folder / f"{disk}.img"

    def disks(self):
        """MiB of each disk, in the order in which the kernel counts them."""
        extra = self.settings.get("extra", {})
        more = {disk: extra[disk] for disk in EXTRA if disk in extra}
        return {"data": self.settings["disk"], "cluster": 64, **more}

    def make(self):
        """Empty disks and an empty folder of its own."""
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "own").mkdir(parents=True)
        for disk, mib in self.disks().items():
            with open(self.image(disk), "wb") as image:
                image.truncate(mib << 20)

    def command(self):
        """The kernel and its command line."""
        words = {
            "lab_host": self.name,
            "lab_link": LINK[self.name],
            "lab_care": CARE[self.name],
            "lab_folder": self.folder / "own",
            "lab_modules": needs.MODULES,
            "lab_top": TOP,
            "lab_programs": self.settings["programs"],
        }
        number = "ab".index(self.name) + 1
        cards = [
            f"vec{i}:transport=tap,ifname={bridge}-{self.name},depth=128,gro=1,"
            f"mac=02:4c:53:00:0{i}:0{number}"
            for i, bridge in enumerate(("cable", "care"))
        ]
        return [
            "linux.uml",
            f"mem={self.settings['memory']}M",
            "root=/dev/root",
            "rootfstype=hostfs",
            "rootflags=/",
            "ro",
            *[f"ubd{i}={self.image(disk)}" for i, disk in enumerate(self.disks())],
            *cards,
            "con=null",
            "con0=null,fd:1",
            f"umid=lockstep-lab-{os.getpid()}-{self.name}",
            f"uml_dir={self.folder}",
            f"init={TOP / 'tests/lab/init'}",
            *[f"{key}={value}" for key, value in words.items()],
        ]

    def boot(self):
        """Starts the kernel and waits until commands can be run."""
        if self.process.pid() is not None:
            raise Failed(f"host {self.name} is up already")
        self.process.start(self.network.inside(*self.command()), self.console, self.folder)
        self.wait_until_up()

    def wait_until_up(self):
        """Waits for the host's agent."""

        def is_up():
            if self.process.pid() is None:
                said = self.console.read_text(errors="replace")
                if STARTED not in said:
                    raise NotHere(f"linux.uml does not run here: {said[-CONSOLE:]}")
                raise Failed(f"host {self.name} ended while it booted")
            try:
                return self.run(["true"], seconds=2) == 0
            except (OSError, Failed):
                return False

        try:
            wait_for(f"host {self.name}", is_up, BOOT_SECONDS)
        except Failed as failed:
            said = self.console.read_text(errors="replace")
            raise Failed(f"{failed}; its console ends:\n{said[-CONSOLE:]}") from None

    def crash(self):
        """The host is gone at once, with everything in its memory."""
        if self.process.pid() is None:
            raise Failed(f"host {self.name} is not up")
        self.process.kill()

    def run(self, argv, out=None, err=None, env=None, seconds=600, stop=None):
        """Runs a command inside and returns its exit status; a signal is 128 and its number.
        The event `stop` ends the command, and then the status is None."""
        if self.process.pid() is None:
            raise Failed(f"host {self.name} is not up")
        try:
            connection = self.network.connect(CARE[self.name], PORT, min(seconds, 5))
        except OSError as error:
            raise Failed(f"host {self.name} does not answer: {error}") from None
        end = time.monotonic() + seconds

        def goes_on():
            if self.process.pid() is None:
                raise Failed(f"host {self.name} is gone")
            if time.monotonic() > end:
                raise Failed(f"host {self.name}: {argv[0]} took more than {seconds} s")
            return stop is None or not stop.is_set()

        with connection:
            connection.settimeout(0.5)
            request = {"argv": [str(part) for part in argv], "env": env or {}}
            connection.sendall(json.dumps(request).encode() + b"\n")
            while True:
                if not goes_on():
                    return None
                head = exactly(connection, 5, goes_on)
                content = head and exactly(connection, struct.unpack(">I", head[1:])[0], goes_on)
                if content is None:
                    return None
                letter = head[:1]
                if letter == b"x":
                    status = int(content)
                    return status if status >= 0 else 128 - status
                if letter == b"f":
                    raise Failed(f"host {self.name}: {content.decode(errors='replace')}")
                sink = out if letter == b"o" else err
                if sink is not None:
                    sink(content)

    def tell(self, *argv, check=True, env=None, seconds=120):
        """Runs a command inside and returns its output; raises when it fails."""
        said, complaints = [], []
        status = self.run(argv, said.append, complaints.append, env, seconds)
        if check and status != 0:
            words = b"".join(complaints or said).decode(errors="replace").strip()
            text = " ".join(str(part) for part in argv)
            raise Failed(f"host {self.name}: {text}: exit {status}: {words}")
        return b"".join(said).decode(errors="replace")

    def sh(self, script, **options):
        """Runs lines of shell inside; the first that fails ends them."""
        return self.tell("bash", "-euo", "pipefail", "-c", script, **options)

    def isolate(self, alone=True):
        """Cuts the host off from the other one and from the third place, or ends that; commands
        still reach it."""
        verb = "replace" if alone else "del"
        gone = [CARE[other] for other in CARE if other != self.name] + [THIRD]
        self.sh("\n".join(f"ip route {verb} blackhole {address}/32" for address in gone))
        if alone:
            self.network.cut()
        else:
            self.network.heal()

    def miss_third(self, missing=True):
        """Takes away the way to the third place, or gives it back."""
        self.tell("ip", "route", "replace" if missing else "del", "blackhole", f"{THIRD}/32")

    def delay(self, milliseconds):
        """Packets leave over the private link this much later; 0 takes the delay away."""
        self.sh("tc qdisc del dev vec0 root 2>/dev/null || true")
        if milliseconds:
            rule = f"limit 100000 delay {milliseconds}ms"
            self.sh(f"modprobe sch_netem && tc qdisc add dev vec0 root netem {rule}")


def exactly(connection, count, goes_on):
    """So many bytes, or None when it is not to go on."""
    content = b""
    while len(content) < count:
        try:
            more = connection.recv(count - len(content))
        except socket.timeout:
            if not goes_on():
                return None
            continue
        except OSError as error:
            raise Failed(f"a host's agent: {error}") from None
        if not more:
            raise Failed("a host's agent is gone")
        content += more
    return content


def to_terminal(stream):
    """A sink that writes to this program's own stream, byte for byte."""

    def write(content):
        stream.buffer.write(content)
        stream.buffer.flush()

    return write


STDOUT, STDERR = to_terminal(sys.stdout), to_terminal(sys.stderr)
__all__ = ["DISKS", "EXTRA", "Host", "Process", "STDERR", "STDOUT", "TOP", "run"]
