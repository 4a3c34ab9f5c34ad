"""A cluster of the lab's hosts: one group with a mirror, a file system on its device and a program.

All that knows a configuration file, a verb or a field of the status stands in this file."""

import json
import os
import subprocess

from .host import DISKS
from .network import CARE, LINK, THIRD
from .words import Failed, wait_for

VOLUME = "orders"
GROUP = "orders"
DEVICE = f"/dev/lockstep/{VOLUME}"
MOUNT = "/srv/orders"
# Inside a host: its own folder, which survives a crash.
OWN = "/mnt/lab"
HEARTBEAT = "5 s"

# Regions whose writes are announced ahead: so few that they change all the time, and the default.
REGIONS_FEW = 64
REGIONS = 16_384

CONFIG = """[cluster]
id = "{cluster}"
name = "lab"
key_file = "{own}/key"
[nodes.a]
name = "a"
[nodes.b]
name = "b"
[paths]
config = "{own}"
run = "/run/lockstep"
state = "{own}/state"
[engine]
spawn = true
[[interconnects]]
name = "link"
priority = 1
mirror = true
address = {{ a = "{link[a]}", b = "{link[b]}" }}
[[interconnects]]
name = "care"
priority = 2
address = {{ a = "{care[a]}", b = "{care[b]}" }}
[arbiter]
type = "etcd"
endpoints = ["http://{third}:2379"]
[[volumes]]
id = "{volume}"
name = "{name}"
data = "{data}"
cluster_partition = "{disks[cluster]}"
device = "{device}"
port = 7010
intent_regions = {regions}
[[groups]]
id = "{group}"
name = "{name}"
startup = "manual"
[[groups.resources]]
name = "mirror"
type = "mirror"
volume = "{name}"
"""
# What comes once there is a file system.
ON_DEVICE = """[[groups.resources]]
name = "fs"
type = "fs"
volume = "{name}"
fs = "{fs}"
mount_point = "{mount}"
start_failed = "none"
stop_failed = "none"
[[groups.resources]]
name = "app"
type = "exec"
start = ["{app}", "start"]
stop = ["{app}", "stop"]
status = ["{app}", "status"]
"""

# A program of the group that is nothing but on or off, and only on where the volume is mounted.
APP = f"""#!/bin/bash
case $1 in
start) mountpoint -q {MOUNT} && touch /run/app.on ;;
stop) rm -f /run/app.on ;;
status) [[ -e /run/app.on ]] || exit 3 ;;
esac
"""


def fresh():
    """An id."""
    return os.urandom(16).hex()


class Cluster:
    """Lockstep on both hosts of a lab."""

    def __init__(self, lab, fs="ext4", data=DISKS["data"], regions=REGIONS_FEW):
        self.lab = lab
        self.regions = regions
        self.fs = fs
        self.data = data
        self.words = {}

    def install(self):
        """Puts the files of a new cluster on both hosts and formats their partitions."""
        self.words = dict(
            cluster=fresh(),
            volume=fresh(),
            group=fresh(),
            name=VOLUME,
            own=OWN,
            link=LINK,
            care=CARE,
            third=THIRD,
            data=self.data,
            regions=self.regions,
            disks=DISKS,
            device=DEVICE,
            mount=MOUNT,
            app=f"{OWN}/app",
        )
        text = CONFIG.format(**self.words)
        key = os.urandom(32).hex() + "\n"
        for host in self.lab.hosts.values():
            own = host.folder / "own"
            (own / "cluster.toml").write_text(text)
            for name, content, mode in (("key", key, 0o600), ("app", APP, 0o755)):
                (own / name).write_text(content)
                (own / name).chmod(mode)
            host.sh(f"mkdir -p {OWN}/state/engines")
            rendered = host.sh(f"lockstep config show {host.name} --file {OWN}/cluster.toml")
            (own / "engine.toml").write_text(rendered)
            host.sh(f"lockstep-engine format --config {OWN}/engine.toml")

    def start(self, name):
        """Starts the daemon of one host, which starts the engine; after a crash, too."""
        host = self.lab.host(name)
        host.sh(
            f"mkdir -p {MOUNT} /run/lockstep\n"
            f"setsid lockstep daemon --cluster {OWN}/cluster.toml >> {OWN}/daemon.log 2>&1 &"
        )
        wait_for(
            f"the daemon of {name}",
            lambda: host.run(["test", "-S", "/run/lockstep/daemon.sock"]) == 0,
        )

    def create_mirror(self):
        """Makes the mirror and serves it on a."""
        host = self.lab.host("a")
        create = ["lockstep", "mirror", "create", "--both-blank"]
        # Refused until the engines have found each other.
        wait_for("the link", lambda: host.run(create) == 0, pause=0.5)
        self.verb("a", "mirror", "start")
        wait_for(f"{DEVICE} on a", lambda: host.run(["test", "-b", DEVICE]) == 0)

    def create(self):
        """Makes the mirror, serves it on a, makes the file system there, and has the group mount
        it: all but the first by what an operator would do."""
        self.create_mirror()
        self.make_fs("a")
        self.wait_on("a")

    def make_fs(self, name):
        """An empty file system on the device of a host, and the configuration that mounts it."""
        host = self.lab.host(name)
        # Without giving all blocks back first, which takes a host's disk longer than all the rest.
        options = {"ext4": ["-F", "-E", "nodiscard"], "xfs": ["-f", "-K"]}[self.fs]
        host.tell(f"mkfs.{self.fs}", "-q", *options, DEVICE)
        whole = (CONFIG + ON_DEVICE).format(**self.words, fs=self.fs)
        (host.folder / "own" / "whole.toml").write_text(whole)
        self.verb(name, "config", "apply", "--yes", f"{OWN}/whole.toml")

    def replace_fs(self, name, fs):
        """Another file system, empty, in place of the one that is mounted on a host."""
        self.take_down(name)
        self.fs = fs
        self.make_fs(name)
        self.bring_up(name)

    def take_down(self, name):
        """Stops what stands on the device."""
        for resource in ("app", "fs"):
            self.verb(name, "resource", "stop", GROUP, resource)

    def bring_up(self, name):
        """Starts it again."""
        for resource in ("fs", "app"):
            self.verb(name, "resource", "start", GROUP, resource)
        self.wait_on(name)

    def fsck(self, name):
        """Takes the file system down, looks at it, and brings it up again."""
        self.take_down(name)
        check = {"ext4": ["e2fsck", "-f", "-n", DEVICE], "xfs": ["xfs_repair", "-n", DEVICE]}
        self.lab.host(name).tell(*check[self.fs], seconds=300)
        self.bring_up(name)

    def come_back(self, name):
        """A host that was lost boots, joins and becomes equal."""
        self.lab.host(name).boot()
        self.start(name)
        self.wait_in_sync(name)

    def wait_images_equal(self):
        """Compares what the two data disks hold, byte for byte, from outside of both kernels."""
        images = [host.image("data") for host in self.lab.hosts.values()]
        size = (self.lab.settings["disk"] - 1) << 20
        command = ["cmp", "-n", str(size), *images]
        seen = []

        def equal():
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            seen[:] = [done.stdout + done.stderr]
            return done.returncode == 0

        try:
            # What a kernel has under way by itself ends soon.
            wait_for("equal images", equal, 10, pause=0.5)
        except Failed as failed:
            raise Failed(f"{failed}: {seen[0].strip()}") from None

    def wait_on(self, name, seconds=60):
        """Waits until the file system is mounted on a host and the program runs there."""
        host = self.lab.host(name)
        what = f"mountpoint -q {MOUNT} && test -e /run/app.on"
        wait_for(f"the group on {name}", lambda: host.run(["bash", "-c", what]) == 0, seconds)

    def verb(self, name, *words, check=True, seconds=120):
        """A verb of an operator on one host."""
        return self.lab.host(name).tell("lockstep", *words, check=check, seconds=seconds)

    def status(self, name):
        """What a host says of the cluster, or nothing while its daemon does not answer."""
        text = self.verb(name, "status", "--json", check=False)
        return json.loads(text) if text.strip().startswith("{") else {}

    def wait_in_sync(self, name, seconds=120):
        """Waits until both copies are equal."""

        def in_sync(status):
            mirrors = [one for group in status["groups"] for one in group["mirrors"]]
            return all(one["summary"]["mirror"] == "in sync" for one in mirrors)

        self.wait_status(name, "a mirror in sync", in_sync, seconds)

    def wait_status(self, name, what, condition, seconds=60):
        """Waits until the status of a host is as it should be."""
        last = {}

        def holds():
            last.clear()
            last.update(self.status(name))
            try:
                return condition(last)
            except (KeyError, IndexError, TypeError, StopIteration):
                return False

        try:
            wait_for(f"{what} on {name}", holds, seconds, pause=0.2)
        except Failed as failed:
            raise Failed(f"{failed}; status: {json.dumps(last)[:3000]}") from None
