"""Two hosts on one machine: a network namespace each, joined by a veth pair, and the images they
keep. Everything made here is taken away again at the end, whatever happened in between."""

import ctypes
import os
import platform
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

ADDRESS = {"a": "10.77.0.1", "b": "10.77.0.2"}
# Numbers of sched_setattr(2), which Python does not wrap.
SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
MIB = 1 << 20


class Failed(Exception):
    """A benchmark that cannot go on; the text says what, why and what next."""


class SchedAttr(ctypes.Structure):
    """struct sched_attr, first version."""

    _fields_ = [
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime", ctypes.c_uint64),
        ("deadline", ctypes.c_uint64),
        ("period", ctypes.c_uint64),
    ]


def short_slice(micros):
    """Asks for a scheduler slice for this process and all that it starts, so that a busy neighbour
    does not decide results at depth 1. Says what came of it."""
    number = SCHED_SETATTR.get(platform.machine())
    if number is None:
        return "default (no number of sched_setattr for this architecture)"
    attr = SchedAttr(size=ctypes.sizeof(SchedAttr), runtime=micros * 1000)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(number, 0, ctypes.byref(attr), 0) != 0:
        return f"default (refused: {os.strerror(ctypes.get_errno())})"
    major, minor = (int(part) for part in platform.release().split(".")[:2])
    if (major, minor) < (6, 12):
        return "default (kernel older than 6.12 ignores the request)"
    return f"{micros} µs for all contestants and the client"


def run(*command, check=True, **options):
    """Runs a command to its end and returns its output."""
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, **options
    )
    if check and done.returncode != 0:
        text = (done.stderr or done.stdout).strip()
        raise Failed(f"{' '.join(str(p) for p in command)}: exit {done.returncode}: {text}")
    return done.stdout


class World:
    """Owns namespaces, processes, loop devices and folders of one run."""

    def __init__(self, disk_dir):
        self.folder = Path(tempfile.mkdtemp(prefix="lockstep-bench-"))
        self.disk = Path(tempfile.mkdtemp(prefix="lockstep-bench-", dir=disk_dir))
        self.memory = self.folder / "memory"
        self.space = {name: f"lsb{os.getpid()}{name}" for name in "ab"}
        self.processes = []
        self.loops = []
        self.proxies = []

    def __enter__(self):
        self.memory.mkdir()
        try:
            run("mount", "-t", "tmpfs", "-o", "size=90%,mode=700", "tmpfs", self.memory)
            self.join_hosts()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def join_hosts(self):
        """Makes the two namespaces and the cable between them."""
        for name in "ab":
            run("ip", "netns", "add", self.space[name])
            run("ip", "-n", self.space[name], "link", "set", "lo", "up")
        a, b = self.space["a"], self.space["b"]
        run("ip", "-n", a, "link", "add", "net", "type", "veth", "peer", "name", "net", "netns", b)
        for name in "ab":
            run("ip", "-n", self.space[name], "address", "add", f"{ADDRESS[name]}/24", "dev", "net")
            run("ip", "-n", self.space[name], "link", "set", "net", "up")

    def inside(self, host, *command):
        """The command as it runs on a host. `ip` replaces itself, so the process id is its own."""
        return ["ip", "netns", "exec", self.space[host], *[str(part) for part in command]]

    def start(self, host, *command, env=None):
        """Starts a server on a host; its output goes to a file named after it."""
        log = self.folder / f"{len(self.processes)}-{Path(str(command[0])).name}-{host}.log"
        with open(log, "wb") as sink:
            process = subprocess.Popen(
                self.inside(host, *command),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **(env or {})},
            )
        process.log = log
        process.title = " ".join(str(part) for part in command)
        self.processes.append(process)
        return process

    def stop(self, process, sig=signal.SIGTERM):
        """Ends a server and waits for it."""
        if process.poll() is None:
            process.send_signal(sig)
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process in self.processes:
            self.processes.remove(process)

    def image(self, kind, name, size):
        """Makes an image of `size` bytes: a loop device over a file in tmpfs (which is sparse until
        it is written), or a file on disk with all its blocks."""
        if kind == "memory":
            path = self.memory / name
            with open(path, "wb") as image:
                image.truncate(size)
            device = run("losetup", "--find", "--show", path).strip()
            self.loops.append((device, path))
            return device
        path = self.disk / name
        with open(path, "wb") as image:
            os.posix_fallocate(image.fileno(), 0, size)
        return str(path)

    def drop_images(self):
        """Takes all images away, so that the next group of rows has the memory."""
        for device, path in self.loops:
            run("losetup", "--detach", device, check=False)
            path.unlink(missing_ok=True)
        self.loops.clear()
        for path in self.disk.iterdir():
            path.unlink()

    def close(self):
        """Takes everything away; what is already gone is no fault."""
        for process in list(reversed(self.processes)):
            self.stop(process, signal.SIGKILL)
        if self.disk.exists():
            self.drop_images()
        for space in self.space.values():
            run("ip", "netns", "delete", space, check=False)
        run("umount", "--lazy", self.memory, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.disk, ignore_errors=True)


def wait_for(what, condition, process=None, seconds=20):
    """Waits until `condition` holds; names what did not come, and the server's last words."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        if process is not None and process.poll() is not None:
            break
        time.sleep(0.02)
    words = ""
    if process is not None:
        words = ": " + process.log.read_text(errors="replace")[-2000:].strip()
        words = f" ({process.title}){words}"
    raise Failed(f"{what} did not come{words}")
