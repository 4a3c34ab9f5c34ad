"""A client that writes and checks what it wrote, and how long it had to wait."""

import json
import subprocess

from lab.words import Failed


class Load:
    """fio on the volume of one host, until it is told to end."""

    def __init__(self, host, socket, seconds):
        uri = f"nbd+unix:///orders?socket={host.path(socket)}"
        command = ["fio", "--name=load", "--ioengine=nbd", f"--uri={uri}", "--rw=randwrite"]
        command += ["--bs=4k", "--iodepth=4", "--size=64M", "--verify=crc32c", "--verify_fatal=1"]
        command += ["--verify_state_save=0"]
        command += ["--time_based", f"--runtime={seconds}", "--output-format=json", "--rate_iops=500"]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def runs(self):
        """Whether it still writes: one that ended early has failed."""
        return self.process.poll() is None

    def end(self):
        """Waits for its end; gives the number of writes and the longest wait in milliseconds."""
        out, err = self.process.communicate(timeout=300)
        if self.process.returncode != 0:
            raise Failed(f"the client failed: {(err or out)[-1500:]}")
        job = json.loads(out[out.index("{") :])["jobs"][0]
        if job["error"] != 0 or job["write"]["total_ios"] == 0:
            raise Failed(f"the client saw error {job['error']}")
        return job["write"]["total_ios"], job["write"]["clat_ns"]["max"] / 1e6
