"""Both hosts, their network and the third place, as one thing in one folder."""

import json
import shutil

from .host import Host, Process
from .network import THIRD, Network
from .words import Failed, wait_for

SETTINGS = "lab.json"


class Lab:
    """A lab in a folder. Commands of scripts/lab find it again by that folder."""

    def __init__(self, folder, settings=None):
        self.folder = folder.resolve()
        self.settings = settings or self.read_settings()
        self.network = Network(self.settings["namespace"])
        self.hosts = {
            name: Host(name, self.folder, self.network, self.settings) for name in "ab"
        }
        self.etcd = Process(self.folder / "etcd.json")

    def read_settings(self):
        """What `up` was told."""
        try:
            return json.loads((self.folder / SETTINGS).read_text())
        except FileNotFoundError:
            raise Failed(f"there is no lab in {self.folder}; `scripts/lab up` makes one") from None

    def up(self):
        """Makes everything anew and boots both hosts."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / SETTINGS).write_text(json.dumps(self.settings))
        self.network.make()
        for host in self.hosts.values():
            host.make()
        self.start_etcd()
        for host in self.hosts.values():
            host.process.start(
                self.network.inside(*host.command()), host.console, host.folder
            )
        for host in self.hosts.values():
            host.wait_until_up()

    def start_etcd(self):
        """The store of the record, in the third place."""
        data = self.folder / "etcd"
        shutil.rmtree(data, ignore_errors=True)
        url, peer = f"http://{THIRD}:2379", f"http://{THIRD}:2380"
        command = [
            *("etcd", "--name", "third", "--data-dir", data),
            *("--listen-client-urls", url, "--advertise-client-urls", url),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
            *("--initial-cluster", f"third={peer}", "--log-level", "error"),
        ]
        log = self.folder / "etcd.log"
        self.etcd.start(self.network.inside(*command), log, self.folder)

        def answers():
            if self.etcd.pid() is None:
                raise Failed(f"etcd ended: {log.read_text(errors='replace')[-1500:]}")
            try:
                self.network.connect(THIRD, 2379, 1).close()
                return True
            except OSError:
                return False

        wait_for("etcd", answers)

    def down(self):
        """Ends every process that the lab started and takes its network away; the disks stay."""
        for process in [*(host.process for host in self.hosts.values()), self.etcd]:
            process.kill()
        # What a kernel ran ends a moment after it.
        wait_for("the end of all processes in the lab", lambda: not self.network.processes())
        self.network.remove()

    def host(self, name):
        """One host by its name."""
        if name not in self.hosts:
            raise Failed(f"there is no host {name}; the hosts are a and b")
        return self.hosts[name]
