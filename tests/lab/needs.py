"""What a machine must have for the lab; installs packages where it may."""

import os
import shutil
import subprocess
from pathlib import Path

from .words import NotHere

# Command, and the package of Debian that has it.
COMMANDS = {
    "linux.uml": "user-mode-linux",
    "ip": "iproute2",
    "tc": "iproute2",
    "modprobe": "kmod",
    "udevadm": "udev",
    "etcd": "etcd-server",
    "mkfs.ext4": "e2fsprogs",
    "mkfs.xfs": "xfsprogs",
    "fio": "fio",
    "dmsetup": "dmsetup",
}
# Where the package puts the modules of its kernel.
MODULES = Path("/usr/lib/uml/modules")
# Where a host sees them; its root is this machine's, and can't be written.
MODULES_SEEN = Path("/usr/lib/modules")


def missing(commands):
    """Packages whose commands are not there."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return sorted({pkg for cmd, pkg in commands.items() if not shutil.which(cmd, path=path)})


def check(more=None):
    """Makes the machine fit for the lab, with `more` commands, or says why it can't be.

    Raises NotHere."""
    if os.uname().machine != "x86_64":
        raise NotHere(
            f"kernels that run as programs exist for x86_64 only, and this is {os.uname().machine}"
        )
    if os.geteuid() != 0:
        raise NotHere("network namespaces and tap devices need root; run it as root")
    install({**COMMANDS, **(more or {})})
    if not Path("/dev/net/tun").exists():
        raise NotHere("there is no /dev/net/tun, and the hosts' network cards are tap devices")
    probe = ("unshare", "-n", "ip", "tuntap", "add", "probe", "mode", "tap")
    done = subprocess.run(probe, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise NotHere(f"no network for the hosts: {' '.join(probe)}: {done.stderr.strip()}")
    if not MODULES.is_dir():
        raise NotHere(f"{MODULES} is not there, so the hosts would have no nbd")
    MODULES_SEEN.mkdir(exist_ok=True)


def install(commands):
    """Installs the packages of commands with apt, as far as that is possible."""
    packages = missing(commands)
    if not packages:
        return
    line = "apt-get install --no-install-recommends " + " ".join(packages)
    if not shutil.which("apt-get"):
        raise NotHere(f"packages are missing and there is no apt-get: {' '.join(packages)}")
    print(f"installing: {' '.join(packages)}", flush=True)
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "-q"], check=False, env=env, capture_output=True)
    done = subprocess.run(
        [*line.split(), "-q", "-y"], check=False, env=env, capture_output=True, text=True
    )
    left = missing(commands)
    if left:
        words = done.stderr.strip().splitlines()[-1:] or [f"exit {done.returncode}"]
        raise NotHere(f"`{line}` did not bring {' '.join(left)}: {words[0]}")
