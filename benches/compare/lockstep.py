"""Lockstep as a contestant: two engines and two daemons, or what is left of them. All that
knows a configuration file, a verb or a field of the status stands in this file."""

import json
import os
import signal
import socket
import tempfile
import time
from pathlib import Path

from .hosts import ADDRESS, MIB, Failed, run, wait_for
from .measure import peak_memory
from .peers import Contestant

LINK_PORT = 7100
HEARTBEAT_PORT = 7200
CLUSTER = "c1" * 16
GROUP = "91" * 16
VOLUME = "71" * 16
# The end of the data partition that belongs to the engine.
TAIL = MIB
BLOCK = 4096
HOSTS = "ab"


class Lockstep(Contestant):
    """A mirrored pair."""

    name = "lockstep"
    programs = Path("target/release")
    metadata = 64 * MIB

    def start(self):
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self.name}-", dir=self.world.folder))
        (self.folder / "arbiter").mkdir()
        key = self.folder / "key"
        key.write_text(os.urandom(32).hex() + "\n")
        key.chmod(0o600)
        self.engines, self.daemons, self.images = {}, {}, {}
        for host in HOSTS:
            self.images[host] = self.image(host, self.size + TAIL)
            self.configure(host, self.image(f"{host}-cluster", self.metadata))
            run(self.programs / "lockstep-engine", "format", "--config", self.path(host, "engine"))
        for host in HOSTS:
            self.bring_up(host)
        self.make_mirror()
        self.target = f"nbd+unix:///{self.name}?socket={self.path('a', 'nbd.sock')}"
        self.pair = (self.images["a"], self.images["b"], self.size)

    def path(self, host, what):
        """A path of one node: `engine` and `daemon` are its configuration files."""
        names = {"engine": "engine.toml", "daemon": "daemon.toml"}
        return self.folder / host / names.get(what, what)

    def configure(self, host, metadata):
        """Writes both configuration files of one node."""
        other = "b" if host == "a" else "a"
        for folder in ("run", "state"):
            self.path(host, folder).mkdir(parents=True)
        peer_host, peer_port = self.delayed(host, other, LINK_PORT)
        key = self.folder / "key"
        identity = f"""
[cluster]
id = "{CLUSTER}"
name = "bench"
[group]
id = "{GROUP}"
name = "bench"
[volume]
id = "{VOLUME}"
name = "{self.name}"
"""
        self.path(host, "engine").write_text(
            f"""node = "{host}"
data = "{self.images[host]}"
cluster_partition = "{metadata}"
admin = "{self.path(host, 'admin.sock')}"
{identity}
[clients]
unix = "{self.path(host, 'nbd.sock')}"
[link]
listen = "{ADDRESS[host]}:{LINK_PORT}"
peer = "{peer_host}:{peer_port}"
key_file = "{key}"
"""
        )
        self.path(host, "daemon").write_text(
            f"""node = "{host}"
key_file = "{key}"
runtime_dir = "{self.path(host, 'run')}"
state_dir = "{self.path(host, 'state')}"
daemon_socket = "{self.path(host, 'daemon.sock')}"
spawn_engine = false
auto_takeover = false
{identity}
[engine]
socket = "{self.path(host, 'admin.sock')}"
config = "{self.path(host, 'engine')}"
[heartbeat]
bind = "{ADDRESS[host]}:{HEARTBEAT_PORT}"
peer = "{ADDRESS[other]}:{HEARTBEAT_PORT}"
[arbiter]
directory = "{self.folder / 'arbiter'}"
"""
        )

    def bring_up(self, host):
        """Starts engine and daemon of one node."""
        self.start_engine(host)
        daemon = self.serve(
            host, self.programs / "lockstep", "daemon", "--config", self.path(host, "daemon")
        )
        self.daemons[host] = daemon
        wait_for("the daemon's socket", self.path(host, "daemon.sock").exists, daemon)

    def start_engine(self, host):
        """Starts the engine of one node."""
        engine = self.serve(
            host, self.programs / "lockstep-engine", "run", "--config", self.path(host, "engine")
        )
        self.engines[host] = engine
        wait_for("the engine's socket", self.path(host, "admin.sock").exists, engine)

    def make_mirror(self):
        """Creates the record, makes a the primary, and waits until it serves."""
        self.wait_status("a", "link up", lambda s: s["link"] == "up")
        self.verb("a", "create", "--both-blank")
        self.verb("a", "start")
        self.wait_mirror("in-sync")

    def wait_mirror(self, state):
        """Waits until a serves and the mirror is in this state."""
        self.wait_status("a", state, lambda s: s["role"] == "primary" and s["mirror"] == state)

    def verb(self, host, *words):
        """Runs an operator's verb on one node; its socket is reached from anywhere."""
        config = self.path(host, "daemon")
        return run(self.programs / "lockstep", "mirror", *words, "--config", config)

    def status(self, host):
        """What the engine says of itself. It is asked at its own socket: what daemons show is up to
        a fifth of a second old."""
        call = {"v": 1, "id": 1, "verb": "status"}
        with socket.socket(socket.AF_UNIX) as door, door.makefile("rw") as lines:
            door.connect(str(self.path(host, "admin.sock")))
            lines.write(json.dumps(call) + "\n")
            lines.flush()
            for line in lines:
                if found := json.loads(line).get("status"):
                    return found
        raise Failed(f"{self.path(host, 'admin.sock')}: no status; see the engine's output")

    def wait_status(self, host, what, condition, seconds=60):
        """Waits until the status of a node fulfils a condition."""

        def holds():
            try:
                return condition(self.status(host))
            except (Failed, OSError, KeyError, TypeError, ValueError):
                return False

        wait_for(f"{self.name} on {host}: {what}", holds, self.engines[host], seconds)

    def fill_standby(self):
        """Starts the lost node b and waits until it is in sync. Returns how many bytes the resync
        had to make equal, the bytes of data that travelled, and its seconds."""
        dirty = self.status("a")["dirty_blocks"] * BLOCK
        begin = end = sent = None
        self.bring_up("b")
        limit = time.monotonic() + 600
        while end is None and time.monotonic() < limit:
            status = self.status("a")
            now = time.monotonic()
            if status["mirror"] in ("solo", "holding"):
                begin = now
            elif status["mirror"] in ("growing", "in-sync"):
                end = now
            else:
                sent = status["sync_sent_bytes"]
            time.sleep(0.01)
        if end is None or begin is None:
            raise Failed(f"{self.name}: the resync did not end in 600 s; status: {status}")
        self.wait_mirror("in-sync")
        return {"bytes": dirty, "sent": sent, "seconds": end - begin}

    def stop(self):
        """Stops serving in order, so that no engine waits for the other, then ends all."""
        self.verb("a", "stop")
        super().stop()

    def lose(self, host):
        """Kills both processes of one node, as a power loss would."""
        for process in (self.daemons[host], self.engines[host]):
            self.processes.remove(process)
            self.world.stop(process, signal.SIGKILL)
        for name in ("admin.sock", "daemon.sock", "nbd.sock"):
            self.path(host, name).unlink(missing_ok=True)

    def engine_peak_bytes(self):
        """Peak memory of the larger engine."""
        return max(peak_memory(engine.pid) for engine in self.engines.values())


class LockstepSolo(Lockstep):
    """A primary whose standby is lost: the front end without a mirror. It begins as a pair because
    a store that two nodes have not seen decides nothing."""

    name = "lockstep-solo"

    def start(self):
        super().start()
        self.lose("b")
        self.wait_mirror("solo")
        self.pair = None

    def stop(self):
        """Ends what is left; there is no second image to compare, so nothing has to be in order."""
        super(Lockstep, self).stop()
