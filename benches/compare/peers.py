"""What an operator could use instead, without a kernel module: the contestants beside Lockstep.
Each has `target` for fio, `pids` of all its servers, `start`, `stop`, and `pair`: the two images
that must be equal in the end, with their size, or None."""

from .hosts import ADDRESS, wait_for
from .measure import answers


class Contestant:
    """What all have in common."""

    name = ""

    def __init__(self, world, kind, size, round_trip_us=0, proxy=None):
        self.world = world
        self.kind = kind
        self.size = size
        self.round_trip_us = round_trip_us
        self.proxy = proxy
        self.processes = []
        self.pair = None
        self.target = ""

    def pids(self):
        """Process ids of all servers."""
        return [process.pid for process in self.processes]

    def serve(self, host, *command, env=None):
        """Starts a server that counts."""
        process = self.world.start(host, *command, env=env)
        self.processes.append(process)
        return process

    def image(self, name, size=None):
        """An image of this contestant."""
        return self.world.image(self.kind, f"{self.name}-{name}", size or self.size)

    def delayed(self, host, to, port):
        """An address on `host` behind which `port` of `to` lies, farther away by half the round
        trip each way."""
        if not self.round_trip_us:
            return ADDRESS[to], port
        near = port + 1000
        half = self.round_trip_us // 2
        proxy = self.world.start(
            host, self.proxy, f"{ADDRESS[host]}:{near}", f"{ADDRESS[to]}:{port}", half
        )
        self.world.proxies.append(proxy)
        return ADDRESS[host], near

    def socket_of(self, process, path):
        """Waits for a server's socket."""
        wait_for(f"socket {path} of {self.name}", lambda: answers(path), process)
        return path

    def stop(self):
        """Ends the servers in reverse, so that what is under way still finds its place."""
        for process in reversed(self.processes):
            self.world.stop(process)
        self.processes.clear()


class Raw(Contestant):
    """No server: fio's io_uring engine on the image itself. The ceiling."""

    name = "raw"

    def start(self):
        self.target = self.image("a")


class Quorum(Contestant):
    """qemu-storage-daemon with a quorum of a local image and a remote export of qemu-nbd; both
    must acknowledge."""

    name = "quorum"
    port = 10809

    def start(self):
        local, remote = self.image("a"), self.image("b")
        common = ["-f", "raw", "--cache=none", "--aio=io_uring", "--persistent"]
        at = ["-b", ADDRESS["b"], "-p", self.port, "-x", "b", "-e", "16"]
        export = self.serve("b", "qemu-nbd", *common, *at, remote)
        wait_for("the listener of qemu-nbd", self.listens, export)
        host, port = self.delayed("a", "b", self.port)
        socket = self.world.folder / "quorum.sock"
        driver = "host_device" if self.kind == "memory" else "file"
        front = self.serve(
            "a",
            "qemu-storage-daemon",
            f"--blockdev=driver={driver},node-name=local,filename={local},cache.direct=on,"
            "aio=io_uring",
            f"--blockdev=driver=nbd,node-name=remote,server.type=inet,server.host={host},"
            f"server.port={port},export=b",
            "--blockdev=driver=quorum,node-name=both,children.0=local,children.1=remote,"
            "vote-threshold=2",
            f"--nbd-server=addr.type=unix,addr.path={socket}",
            "--export=type=nbd,id=front,node-name=both,name=both,writable=on",
        )
        self.socket_of(front, socket)
        self.target = f"nbd+unix:///both?socket={socket}"
        self.pair = (local, remote, self.size)

    def listens(self):
        """Whether something listens on the port of host b."""
        with open(f"/proc/{self.processes[-1].pid}/net/tcp", encoding="ascii") as table:
            return any(f":{self.port:04X} 00000000:0000 0A" in line for line in table)


class QemuNbd(Contestant):
    """qemu-nbd alone, with io_uring and without the host's page cache."""

    name = "qemu-nbd"

    def start(self):
        socket = self.world.folder / "qemu-nbd.sock"
        options = ["-f", "raw", "--cache=none", "--aio=io_uring", "--persistent", "-e", "16"]
        server = self.serve("a", "qemu-nbd", *options, "-k", socket, self.image("a"))
        self.socket_of(server, socket)
        self.target = f"nbd+unix:///?socket={socket}"


class Nbdkit(Contestant):
    """nbdkit with its file plugin, which reads through the host's page cache."""

    name = "nbdkit"

    def start(self):
        socket = self.world.folder / "nbdkit.sock"
        server = self.serve("a", "nbdkit", "-f", "-U", socket, "file", self.image("a"))
        self.socket_of(server, socket)
        self.target = f"nbd+unix:///?socket={socket}"


PEERS = {kind.name: kind for kind in (Raw, Quorum, QemuNbd, Nbdkit)}
