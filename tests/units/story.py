"""What an operator does with the package on two hosts, from installation to removal, and what
must come of it. Each step prints its seconds, and says what it measured."""

import json
import os
import time

from lab.words import Failed, wait_for

from .load import Load

CLUSTER = """[cluster]
id = "{cluster}"
name = "units"
key_file = "/etc/lockstep/cluster.key"
[nodes.a]
name = "a"
[nodes.b]
name = "b"
[[interconnects]]
name = "link"
priority = 1
mirror = true
address = {{ a = "10.78.0.1", b = "10.78.0.2" }}
[arbiter]
type = "directory"
directory = "/srv/arbiter"
[[volumes]]
id = "{volume}"
name = "orders"
data = {{ a = "{a[data]}", b = "{b[data]}" }}
cluster_partition = {{ a = "{a[cluster]}", b = "{b[cluster]}" }}
port = 7010
unix = "/run/lockstep/orders.sock"
[[groups]]
id = "{group}"
name = "orders"
[[groups.resources]]
name = "mirror"
type = "mirror"
volume = "orders"
[[groups.resources]]
name = "vip"
type = "address"
address = "10.78.9.9"
interface = "link0"
[[groups.resources]]
name = "app"
type = "unit"
unit = "app.service"
"""
# A service of the group, which the service manager runs.
APP = """[Service]
ExecStart=/usr/bin/sleep infinity
"""
# A container tells its boot by a file that lies over one of /proc, and a unit with a namespace of
# its own has a /proc of its own, where that file is the machine's, which did not boot.
CONTAINER = """[Unit]
Requires=boot-id.service
After=boot-id.service
[Service]
BindReadOnlyPaths=/run/boot-id:/proc/sys/kernel/random/boot_id
"""
BOOT_ID = """[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/cp /proc/sys/kernel/random/boot_id /run/boot-id
"""
LOAD_SECONDS = 40


class Story:
    """The steps, in order."""

    def __init__(self, hosts, package, shared):
        self.hosts, self.package, self.shared = hosts, package, shared
        self.a, self.b = hosts
        self.begun = time.monotonic()

    def told(self, text):
        """One line for the step that has just ended."""
        now = time.monotonic()
        print(f"{text:<88}{now - self.begun:7.1f} s", flush=True)
        self.begun = now

    def run(self):
        """All of it."""
        for step in (
            self.install, self.configure, self.start, self.nothing_is_interrupted,
            self.engines_restart, self.orderly_power_off, self.power_cut, self.remove,
        ):
            step()

    def status(self, host):
        """What a host says, or nothing while it does not answer."""
        done = host.call("lockstep status --json")
        return json.loads(done.stdout) if done.stdout.startswith("{") else {}

    def in_sync(self, host):
        """Whether both copies are equal and either node may be lost, as a host sees it."""
        for group in self.status(host).get("groups", []):
            summaries = [one["summary"] for one in group["mirrors"]]
            return all(one["mirror"] == "in sync" and one["safe"] for one in summaries)
        return False

    def runs_on(self, host):
        """Whether the service and its address are on a host."""
        here = host.call("systemctl is-active app && ip address show link0").stdout
        return "10.78.9.9" in here and here.startswith("active")

    def socket(self, host):
        """Where clients of the volume come, as the rendered file has it."""
        rendered = host.sh("cat /var/lib/lockstep/engines/orders.toml")
        lines = [line for line in rendered.splitlines() if line.startswith("unix =")]
        return lines[0].split('"')[1]

    def install(self):
        """Nothing runs because of an installation."""
        for host in self.hosts:
            target = host.root / "root/lockstep.deb"
            target.write_bytes(self.package.read_bytes())
            host.sh("dpkg -i /root/lockstep.deb")
            for unit in ("lockstep", "lockstep-groups", "lockstep-engine@orders"):
                if host.call(f"systemctl is-active {unit}").returncode == 0:
                    raise Failed(f"{unit} runs on {host.name} after the installation")
        self.told("package installed on both hosts; nothing was started")

    def configure(self):
        """The same file and the same key on both; each formats what its engine remembers."""
        words = {key: os.urandom(16).hex() for key in ("cluster", "volume", "group")}
        text = CLUSTER.format(a=self.a.loops, b=self.b.loops, **words)
        key = os.urandom(32).hex()
        for host in self.hosts:
            etc = host.root / "etc"
            (etc / "lockstep/cluster.toml").write_text(text)
            (etc / "lockstep/cluster.key").write_text(key + "\n")
            (etc / "systemd/system/app.service").write_text(APP)
            drop_in = etc / "systemd/system/lockstep-engine@.service.d/container.conf"
            drop_in.parent.mkdir(parents=True)
            drop_in.write_text(CONTAINER)
            (etc / "systemd/system/boot-id.service").write_text(BOOT_ID)
            host.sh("chmod 600 /etc/lockstep/cluster.key; systemctl daemon-reload")
            host.sh("lockstep config check /etc/lockstep/cluster.toml")
            host.sh(
                "install -d -m 700 /var/lib/lockstep/engines; umask 077\n"
                f"lockstep config show {host.name} > /var/lib/lockstep/engines/orders.toml\n"
                "lockstep-engine format --config /var/lib/lockstep/engines/orders.toml"
            )
        self.told("configured and formatted")

    def start(self):
        """Three units are enabled; the mirror is made; the group starts by itself."""
        units = "lockstep-engine@orders lockstep lockstep-groups"
        for host in self.hosts:
            host.sh(f"systemctl enable --now {units}")
        wait_for(
            "the mirror made",
            lambda: self.a.call("lockstep mirror create --both-blank").returncode == 0, 30, 0.5,
        )
        self.a.call("lockstep group start orders")
        wait_for("the group on a", lambda: self.runs_on(self.a), 60, 0.2)
        wait_for("equal copies", lambda: self.in_sync(self.a), 30, 0.2)
        for host in self.hosts:
            for unit in units.split():
                if host.unit(unit, "ActiveState") != "active":
                    raise Failed(f"{unit} is not active on {host.name}")
        self.told("enabled; the service runs on a and both copies are equal")

    def nothing_is_interrupted(self):
        """The daemon restarts, hangs and is upgraded while a client writes; it sees no error, and
        the service of the group goes on as the same process."""
        app = self.a.unit("app", "MainPID")
        engine = self.a.unit("lockstep-engine@orders", "MainPID")
        load = Load(self.a, self.socket(self.a), LOAD_SECONDS)
        self.a.sh("systemctl restart lockstep")
        self.told("daemon of a restarted under load")
        daemon = self.a.unit("lockstep", "MainPID")
        self.a.sh(f"kill -STOP {daemon}")
        wait_for(
            "a new daemon in place of one that hung",
            lambda: self.a.unit("lockstep", "MainPID") not in ("0", daemon)
            and self.a.unit("lockstep", "ActiveState") == "active", 30, 0.2,
        )
        self.told("daemon of a hung; the watchdog replaced it")
        for host in self.hosts:
            before = host.unit("lockstep", "MainPID")
            host.sh("dpkg -i /root/lockstep.deb")
            wait_for(
                "the upgraded daemon",
                lambda host=host, before=before: host.unit("lockstep", "MainPID") != before
                and host.unit("lockstep", "ActiveState") == "active", 30, 0.2,
            )
        self.told("package upgraded on both hosts")
        if not load.runs():
            raise Failed("the client ended before the last step; its time was too short")
        writes, longest = load.end()
        if self.a.unit("app", "MainPID") != app:
            raise Failed("the service of the group was restarted")
        if self.a.unit("lockstep-engine@orders", "MainPID") != engine:
            raise Failed("the engine was restarted")
        self.told(f"client: {writes} writes, none failed, longest {longest:.0f} ms")

    def engines_restart(self):
        """An engine that ends or is killed comes back, and the pair with it."""
        for host, how in (
            (self.b, "systemctl restart lockstep-engine@orders"),
            (self.b, "systemctl kill --kill-who=main --signal=KILL lockstep-engine@orders"),
            (self.a, "systemctl kill --kill-who=main --signal=KILL lockstep-engine@orders"),
            (self.a, "systemctl restart lockstep-engine@orders"),
        ):
            before = host.unit("lockstep-engine@orders", "MainPID")
            host.sh(how)
            wait_for(
                "a new engine",
                lambda host=host, before=before: host.unit("lockstep-engine@orders", "MainPID")
                not in ("0", before), 30,
            )
            wait_for("equal copies", lambda: self.in_sync(self.a) and self.in_sync(self.b), 60, 0.2)
            self.told(f"{host.name}: {how.replace(' lockstep-engine@orders', '')}; in sync again")

    def orderly_power_off(self):
        """Somebody switches a off: the groups go down in order, and the other node has them."""
        where = self.a if self.runs_on(self.a) else self.b
        other = self.b if where is self.a else self.a
        where.power_off()
        wait_for(f"the group on {other.name}", lambda: self.runs_on(other), 60, 0.2)
        self.told(f"{where.name} switched off in order; the service runs on {other.name}")
        where.boot(self.shared)
        wait_for("equal copies", lambda: self.in_sync(other), 120, 0.2)
        self.told(f"{where.name} booted; its units joined, both copies are equal")

    def power_cut(self):
        """The plug of whoever runs the service."""
        where = self.a if self.runs_on(self.a) else self.b
        other = self.b if where is self.a else self.a
        begun = time.monotonic()
        where.power_cut()
        wait_for(f"the group on {other.name}", lambda: self.runs_on(other), 60, 0.05)
        outage = time.monotonic() - begun
        self.told(f"{where.name} lost its power; the service runs on {other.name} after {outage:.1f} s")
        where.boot(self.shared)
        wait_for("equal copies", lambda: self.in_sync(other), 120, 0.2)
        self.told(f"{where.name} booted; both copies are equal")

    def remove(self):
        """The removal stops the groups in order; a purge leaves no unit, and what was mirrored."""
        for host in self.hosts:
            host.sh("dpkg --purge lockstep", 300)
            left = host.call("systemctl list-units --all --plain --no-legend 'lockstep*'").stdout
            running = [line for line in left.splitlines() if " active " in line]
            if running or host.call("systemctl is-active app").returncode == 0:
                raise Failed(f"{host.name} still runs after the removal: {running}")
        self.told("package purged on both hosts; nothing runs")
