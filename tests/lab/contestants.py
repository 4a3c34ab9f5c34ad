"""Who is compared: a device on host a whose writes are on both hosts when they are answered.

Each is set up on fresh disks, loses host b, and takes it back after its boot."""

from .cluster import DEVICE, OWN, REGIONS, Cluster
from .host import DISKS
from .network import LINK
from .words import wait_for

# Seconds that a resync may take.
RESYNC_SECONDS = 300


class Lockstep:
    """The engine's device in the kernel, with the cluster that decides."""

    name = "lockstep"
    device = DEVICE

    def __init__(self, lab):
        self.lab = lab
        self.cluster = Cluster(lab, regions=REGIONS)

    def start(self):
        """Both copies equal, the device there."""
        self.cluster.install()
        for name in "ab":
            self.cluster.start(name)
        self.cluster.create_mirror()
        self.cluster.wait_in_sync("a")

    def settle(self):
        """Waits until a write is on both hosts again, should it not be."""
        self.cluster.wait_in_sync("a", RESYNC_SECONDS)

    def come_back(self):
        """Host b has booted; returns when both copies are equal."""
        self.cluster.start("b")
        self.settle()


DRBD = """global {{ usage-count no; }}
resource r0 {{
    device /dev/drbd0;
    disk {disks[data]};
    meta-disk {disks[cluster]};
    net {{ protocol C; {net} }}
    disk {{ {disk} }}
    on a {{ address {link[a]}:7789; }}
    on b {{ address {link[b]}:7789; }}
}}
"""


class Drbd:
    """DRBD 8.4, protocol C, as it comes."""

    name = "drbd"
    device = "/dev/drbd0"
    net = ""
    disk = ""

    def __init__(self, lab):
        self.lab = lab

    def adm(self, name, *words, check=True):
        """`drbdadm` on a host."""
        command = ["drbdadm", "-c", f"{OWN}/drbd.conf", *words]
        return self.lab.host(name).tell(*command, check=check)

    def equal(self):
        """Whether both disks are up to date."""
        return self.adm("a", "dstate", "r0", check=False).strip() == "UpToDate/UpToDate"

    def up(self, name):
        """The module, and the resource on a host."""
        self.lab.host(name).sh("mount -t tmpfs tmpfs /var/lib; mkdir -p /var/lib/drbd; modprobe drbd")
        self.adm(name, "up", "r0")

    def start(self):
        """Both copies equal, the device there."""
        words = {"disks": DISKS, "link": LINK, "net": self.net, "disk": self.disk}
        for name, host in self.lab.hosts.items():
            (host.folder / "own" / "drbd.conf").write_text(DRBD.format(**words))
            host.sh("modprobe drbd")
            self.adm(name, "create-md", "--force", "r0")
            self.up(name)
        connected = "Secondary/Secondary"
        wait_for("the link of DRBD", lambda: self.adm("a", "role", "r0").strip() == connected)
        # Both disks are zeros: nothing has to be copied.
        self.adm("a", "new-current-uuid", "--clear-bitmap", "r0")
        self.adm("a", "primary", "r0")
        wait_for("equal disks of DRBD", self.equal)

    def come_back(self):
        """Host b has booted; returns when both copies are equal."""
        self.up("b")
        self.settle()

    def settle(self):
        """Waits until a write is on both hosts again, should it not be."""
        wait_for("equal disks of DRBD", self.equal, RESYNC_SECONDS)


class DrbdTuned(Drbd):
    """The same, told to notice a death soon and to copy as fast as it can."""

    name = "drbd tuned"
    net = (
        "ping-int 1; ping-timeout 5; timeout 10; connect-int 1; max-buffers 8000;"
        " max-epoch-size 8000; sndbuf-size 0;"
    )
    disk = "c-plan-ahead 0; resync-rate 1000M;"


NBD_SERVER = f"""[generic]
allowlist = true
[data]
exportname = {DISKS["data"]}
flush = true
fua = true
trim = true
"""


class Md:
    """md RAID1 with a bitmap over the disk of a and, through nbd-client, that of b."""

    name = "md over nbd"
    device = "/dev/md0"

    def __init__(self, lab):
        self.lab = lab

    def serve(self):
        """Host b gives its disk to a."""
        host = self.lab.host("b")
        (host.folder / "own" / "nbd.conf").write_text(NBD_SERVER)
        host.sh(f"nbd-server 0.0.0.0@10809 -C {OWN}/nbd.conf < /dev/null > {OWN}/nbd.log 2>&1 &")
        attach = f"modprobe nbd; nbd-client {LINK['b']} -N data -timeout 5 -block-size 4096 /dev/nbd9"
        wait_for("the NBD server", lambda: self.lab.host("a").run(["bash", "-c", attach]) == 0)

    def start(self):
        """Both copies equal, the device there."""
        self.serve()
        self.lab.host("a").sh(
            "modprobe raid1; mdadm --create /dev/md0 --run --level=1 --raid-devices=2"
            f" --assume-clean --bitmap=internal --homehost=none {DISKS['data']} /dev/nbd9"
        )

    def come_back(self):
        """Host b has booted; returns when both copies are equal."""
        host = self.lab.host("a")
        host.sh(
            "mdadm /dev/md0 --fail /dev/nbd9 || true\n"
            "for i in {1..50}; do mdadm /dev/md0 --remove /dev/nbd9 && break; sleep 0.1; done\n"
            "nbd-client -d /dev/nbd9 || true"
        )
        self.serve()
        host.sh("mdadm /dev/md0 --re-add /dev/nbd9")
        self.settle()

    def settle(self):
        """Waits until a write is on both hosts again, should it not be."""
        host = self.lab.host("a")
        equal = "grep -q '\\[UU\\]' /proc/mdstat && ! grep -qE 'recovery|resync' /proc/mdstat"
        wait_for("equal halves", lambda: host.run(["bash", "-c", equal]) == 0, RESYNC_SECONDS)


ALL = (Lockstep, DrbdTuned, Drbd, Md)
# Beside the command itself: what they need, and the package that has it.
COMMANDS = {
    "drbdadm": "drbd-utils",
    "mdadm": "mdadm",
    "nbd-client": "nbd-client",
    "nbd-server": "nbd-server",
}
