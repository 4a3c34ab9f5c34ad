"""One measurement: fio for some seconds, and what the servers spent on it."""

import json
import os
import socket
import subprocess
import sys
import time

from .hosts import ADDRESS, Failed, run

TICKS_PER_S = os.sysconf("SC_CLK_TCK")

# What pumps bytes over the link: `receive` takes all it gets, `send` pushes for some seconds.
PUMP = """
import socket, sys, time
kind, host, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
data = bytearray(1 << 20)
if kind == "receive":
    door = socket.create_server((host, 7999))
    print("ready", flush=True)
    stream, _ = door.accept()
    begin, total = time.monotonic(), 0
    while count := stream.recv_into(data):
        total += count
    print(total / (time.monotonic() - begin))
else:
    stream = socket.create_connection((host, 7999))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        stream.sendall(data)
"""


def cpu_seconds(pid):
    """User and system time of a process with all its threads, those of its ring included."""
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def peak_memory(pid):
    """Largest resident size so far, in bytes."""
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    raise Failed(f"/proc/{pid}/status has no VmHWM")


def fio(world, target, options, seed, seconds=None):
    """Runs one fio job on host a. `target` is an NBD URI or the path of a device or file."""
    command = ["fio", "--name=cell", "--output-format=json", "--thread"]
    command += [f"--randseed={seed}"]
    if target.startswith("nbd"):
        command += ["--ioengine=nbd", f"--uri={target}"]
    else:
        command += ["--ioengine=io_uring", "--direct=1", f"--filename={target}"]
    if seconds is not None:
        command += ["--time_based", f"--runtime={seconds}"]
    output = run(*world.inside("a", *command, *options))
    job = json.loads(output[output.index("{") :])["jobs"][0]
    if job["error"]:
        raise Failed(f"fio on {target}: error {job['error']}: {os.strerror(job['error'])}")
    side = job["write"] if job["write"]["total_ios"] else job["read"]
    return {
        "iops": side["iops"],
        "bytes_per_s": side["bw_bytes"],
        "us": side["lat_ns"]["mean"] / 1000,
        "us_p99": side["clat_ns"].get("percentile", {}).get("99.000000", 0) / 1000,
        "ops": side["total_ios"],
        "seconds": job["job_runtime"] / 1000,
    }


def cell(world, contestant, options, seed, seconds):
    """Measures one contestant once: what fio saw, and what all servers spent."""
    pids = contestant.pids()
    before = sum(cpu_seconds(pid) for pid in pids)
    result = fio(world, contestant.target, options, seed, seconds)
    spent = sum(cpu_seconds(pid) for pid in pids) - before
    result["cpu_s_per_1000"] = spent * 1000 / result["ops"] if pids and result["ops"] else None
    result["peak_bytes"] = max((peak_memory(pid) for pid in pids), default=None)
    return result


def fill(world, target, seed):
    """Writes every block once, so that no later write is the first of its place."""
    fio(world, target, ["--rw=write", "--bs=1M", "--iodepth=8", "--end_fsync=1"], seed)


def copy_bytes_per_s(world, source, target, size, seconds):
    """What the disk under two images does when one is read and the other written at once, in order
    and in large pieces: the slower of the two."""
    common = ["fio", "--output-format=json", "--thread", "--ioengine=io_uring", "--direct=1"]
    common += [f"--size={size}", "--time_based", f"--runtime={seconds}"]
    common += ["--bs=256k", "--iodepth=16"]
    jobs = ["--name=from", "--rw=read", f"--filename={source}"]
    jobs += ["--name=to", "--rw=write", f"--filename={target}"]
    output = run(*world.inside("a", *common, *jobs))
    of = {job["jobname"]: job for job in json.loads(output[output.index("{") :])["jobs"]}
    return min(of["from"]["read"]["bw_bytes"], of["to"]["write"]["bw_bytes"])


def link_bytes_per_s(world, seconds):
    """What one TCP flow carries from host a to host b."""
    command = world.inside("b", sys.executable, "-c", PUMP, "receive", ADDRESS["b"], seconds)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as receiver:
        if receiver.stdout.readline().strip() != "ready":
            raise Failed(f"nothing listens on {ADDRESS['b']}:7999 for the measure of the link")
        run(*world.inside("a", sys.executable, "-c", PUMP, "send", ADDRESS["b"], seconds))
        return float(receiver.stdout.readline())


def answers(path):
    """Whether something accepts connections on a unix socket."""
    try:
        with socket.socket(socket.AF_UNIX) as door:
            door.connect(str(path))
        return True
    except OSError:
        return False


def same(one, other, size):
    """Whether two images are equal up to `size` bytes."""
    done = subprocess.run(
        ["cmp", "-n", str(size), one, other], capture_output=True, text=True, check=False
    )
    if done.returncode > 1:
        raise Failed(f"cmp {one} {other}: {done.stderr.strip()}")
    return done.returncode == 0


def stopwatch():
    """Seconds since now."""
    begin = time.monotonic()
    return lambda: time.monotonic() - begin
