"""What happens to a mounted volume while it is in use, short of the loss of its host."""

import json
import threading

from .cluster import MOUNT
from .words import Failed, wait_for

# Of a verified load: direct, so that every request reaches the device at once.
FIO = [
    *("fio", "--name=verified", f"--filename={MOUNT}/fio", "--size=32M", "--rw=randwrite"),
    *("--bs=4k", "--direct=1", "--iodepth=16", "--ioengine=libaio", "--time_based"),
    *("--verify=crc32c", "--verify_backlog=512", "--aux-path=/tmp", "--output-format=json"),
]
# Seconds in which a load has begun.
LOAD_BEGINS = 2
BOOT_ID = "/proc/sys/kernel/random/boot_id"
# Longest pause of a request that a restart may cost: the engine's own, and two looks of the kernel.
PAUSE_MS_MAX = 15_000
# The kernel's own timer for requests.
KERNEL_MS = 30_000


class Verified:
    """A load on a host that reads back and checks what it wrote."""

    def __init__(self, host, seconds):
        self.host = host
        self.seconds = seconds
        self.said = ""
        self.failed = None
        self.thread = threading.Thread(target=self.work, daemon=True)
        host.tell("rm", "-f", f"{MOUNT}/fio")
        self.thread.start()
        wait_for("the load", lambda: host.run(["test", "-e", f"{MOUNT}/fio"]) == 0)
        # It says nothing before its end; what is to happen to it should find it at work.
        threading.Event().wait(LOAD_BEGINS)

    def work(self):
        """Until its time is over."""
        try:
            self.said = self.host.tell(*FIO, f"--runtime={self.seconds}", seconds=600)
        except Failed as failed:
            self.failed = failed

    def longest_pause(self):
        """Waits for its end; milliseconds of its slowest request. Raises when one failed."""
        self.thread.join()
        if self.failed is not None:
            raise self.failed
        # Words may stand in front of the report.
        job = json.loads(self.said[self.said.index("{\n") :])["jobs"][0]
        if job["error"]:
            raise Failed(f"fio on {self.host.name}: error {job['error']}")
        return max(job[way]["clat_ns"]["max"] for way in ("read", "write")) / 1e6


def engine(host):
    """Process id of the engine inside a host."""
    return host.tell("pgrep", "-x", "lockstep-engine", check=False).strip()


def restart_engine(cluster, name, signal):
    """Ends the engine under load; the next one takes its device over. Returns the longest pause."""
    host = cluster.lab.host(name)
    load = Verified(host, 10)
    before = engine(host)
    host.tell("kill", f"-{signal}", before)
    wait_for("another engine", lambda: engine(host) not in ("", before))
    pause = load.longest_pause()
    if pause > PAUSE_MS_MAX:
        raise Failed(f"a request waited for {pause:.0f} ms, at most {PAUSE_MS_MAX} ms is allowed")
    cluster.wait_in_sync(name)
    return pause


def fence(cluster, old, new):
    """Cuts the primary off from everything: its requests fail, its mount and its device go, and the
    other one takes over. When it is back, it follows, without a boot."""
    host = cluster.lab.host(old)
    boot = host.tell("cat", BOOT_ID)
    host.isolate()
    gone = f"! mountpoint -q {MOUNT} && ! grep -qs lockstep /sys/block/nbd*/backend"
    wait_for("the fence", lambda: host.run(["bash", "-c", gone]) == 0, 60)
    cluster.wait_on(new)
    host.isolate(False)
    cluster.wait_in_sync(new)
    if host.tell("cat", BOOT_ID) != boot:
        raise Failed(f"host {old} was booted")


def hold(cluster, name, seconds):
    """Takes link and arbiter away while the heartbeats go on: nobody may decide, and writes are held
    longer than the kernel's own timer of 30 s. None fails. Returns the longest pause."""
    hosts = cluster.lab.hosts.values()
    host = cluster.lab.host(name)
    load = Verified(host, seconds + 10)
    for one in hosts:
        one.miss_third()
    cluster.lab.network.cut()
    # The time itself is what is tested.
    threading.Event().wait(seconds)
    for one in hosts:
        one.miss_third(False)
    cluster.lab.network.heal()
    pause = load.longest_pause()
    if pause < KERNEL_MS:
        raise Failed(f"no request was held for long: at most {pause:.0f} ms")
    cluster.wait_in_sync(name)
    return pause

