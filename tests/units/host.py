"""One host: a Debian 12 whose process 1 is systemd, with two loop devices as its disks.

Always: everything that it makes is below its folder, in the namespace of the network, or a loop
device that `remove` gives back; a host that was ended boots again with the files it had."""

import os
import signal
import subprocess

from lab.words import Failed, run, wait_for

# What a fresh Debian 12 lacks for our package and for looking at it.
PACKAGES = "systemd,systemd-sysv,dbus,iproute2,procps,e2fsprogs"
MIRROR = "http://deb.debian.org/debian"
DISKS = {"data": 129, "cluster": 64}


def base(folder):
    """The file tree of a fresh Debian 12 with systemd, made once."""
    made = folder / "base"
    if not made.exists():
        print("a Debian 12 is installed; this takes minutes, once", flush=True)
        begun = folder / "base.begun"
        run("rm", "-rf", begun)
        run("debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", begun, MIRROR)
        begun.rename(made)
    return made


class Host:
    """One of the two."""

    def __init__(self, name, folder, lower, namespace):
        self.name, self.folder, self.namespace = name, folder, namespace
        self.root = folder / "root"
        self.process, self.leader, self.loops = None, None, {}
        for part in ("upper", "work", "root"):
            (folder / part).mkdir(parents=True)
        layers = f"lowerdir={lower},upperdir={folder}/upper,workdir={folder}/work"
        run("mount", "-t", "overlay", "overlay", "-o", layers, self.root)
        for disk, mib in DISKS.items():
            run("truncate", "-s", f"{mib}M", folder / disk)
            self.loops[disk] = run("losetup", "--find", "--show", folder / disk).strip()
        (self.root / "etc/hostname").write_text(f"{name}\n")

    def boot(self, shared):
        """Starts it and waits until systemd says that everything runs."""
        console = open(self.folder / "console", "ab")
        command = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--boot"]
        # What a host may, so that only the units take something away.
        command += ["--capability=all"]
        command += [f"--directory={self.root}", f"--bind={shared}:/srv/arbiter"]
        command += [f"--network-namespace-path=/run/netns/{self.namespace}"]
        command += [f"--bind={loop}" for loop in self.loops.values()]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=console, stderr=console
        )
        self.leader = wait_for(f"systemd of {self.name}", self.find_leader, 30)
        wait_for(f"{self.name} booted", self.is_up, 60, pause=0.2)

    def find_leader(self):
        """Process 1 of the container, by its number outside."""
        if self.process.poll() is not None:
            tail = (self.folder / "console").read_text(errors="replace")[-1500:]
            raise Failed(f"host {self.name} did not boot: {tail}")
        path = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        with open(path, encoding="utf-8") as children:
            found = children.read().split()
        for pid in found:
            if os.readlink(f"/proc/{pid}/ns/pid") != os.readlink("/proc/self/ns/pid"):
                return int(pid)
        return None

    def is_up(self):
        """Whether systemd has started everything it starts."""
        return self.call("systemctl is-system-running").stdout.strip() in ("running", "degraded")

    def call(self, script, seconds=120):
        """Runs a script of bash inside; gives the ended process."""
        inside = ["nsenter", "--target", str(self.leader), "--all", "--", "/usr/bin/env", "-i"]
        inside += ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "/bin/bash", "-c", script]
        return subprocess.run(
            inside, capture_output=True, text=True, check=False, timeout=seconds
        )

    def sh(self, script, seconds=120):
        """Runs a script that must end well; gives what it printed."""
        done = self.call(script, seconds)
        if done.returncode != 0:
            text = (done.stdout + done.stderr).strip()
            raise Failed(f"{self.name}: `{script}` ended with {done.returncode}: {text[-3000:]}")
        return done.stdout

    def unit(self, unit, what):
        """One property of a unit."""
        return self.sh(f"systemctl show {unit} --property={what} --value").strip()

    def path(self, inside):
        """A path of its own, as this machine reaches it."""
        return f"/proc/{self.leader}/root{inside}"

    def journal(self):
        """The last that our units and the service of the group have said."""
        if self.process is None or self.leader is None:
            return f"{self.name} is off"
        journal = "journalctl --no-pager -n 40 -u 'lockstep*' -u app"
        return self.call(f"{journal}; lockstep status").stdout

    def over(self, seconds=60):
        """Waits until it is off."""
        self.process.wait(seconds)
        self.process = None

    def power_off(self):
        """The button of somebody who asks: systemd stops everything in order."""
        self.call("systemctl poweroff")
        self.over(120)

    def power_cut(self):
        """The plug."""
        os.kill(self.leader, signal.SIGKILL)
        self.over()

    def remove(self):
        """Gives everything back."""
        if self.process is not None:
            self.power_cut()
        run("umount", "--lazy", self.root, check=False)
        for loop in self.loops.values():
            run("losetup", "--detach", loop, check=False)
