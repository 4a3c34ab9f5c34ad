"""Runs inside a host of the lab and carries out commands, one for each connection.

The caller sends a line of JSON, `{"argv": [...], "env": {...}}`, and gets frames: a letter (`o`
output, `e` errors, `x` exit status, `f` could not be started), four bytes of length, and the bytes.
A caller that goes away takes its command with it. Only the lab's own namespace reaches this."""

import json
import os
import signal
import socketserver
import struct
import subprocess
import sys
import threading

PORT = 7000


def send(connection, lock, letter, content):
    """One frame."""
    with lock:
        connection.sendall(letter + struct.pack(">I", len(content)) + content)


def pump(source, connection, lock, letter):
    """Everything that a command says, as it says it."""
    while content := os.read(source.fileno(), 65536):
        try:
            send(connection, lock, letter, content)
        except OSError:
            return


class Carried(socketserver.StreamRequestHandler):
    """One command."""

    def handle(self):
        asked = json.loads(self.rfile.readline())
        lock = threading.Lock()
        try:
            child = subprocess.Popen(
                asked["argv"],
                env={**os.environ, **asked.get("env", {})},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                cwd="/",
            )
        except OSError as error:
            send(self.connection, lock, b"f", str(error).encode())
            return
        pumps = [
            threading.Thread(target=pump, args=(child.stdout, self.connection, lock, b"o")),
            threading.Thread(target=pump, args=(child.stderr, self.connection, lock, b"e")),
        ]
        threading.Thread(target=self.mind, args=(child,), daemon=True).start()
        for thread in pumps:
            thread.start()
        status = child.wait()
        # What the command left in the background may hold the pipes open for ever.
        for thread in pumps:
            thread.join(timeout=0.5)
        try:
            send(self.connection, lock, b"x", str(status).encode())
        except OSError:
            return

    def mind(self, child):
        """Ends the command when its caller is gone."""
        try:
            self.rfile.read(1)
        except OSError:
            pass
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)


class Agent(socketserver.ThreadingTCPServer):
    """Listens on the address that it is given."""

    daemon_threads = True
    allow_reuse_address = True


if __name__ == "__main__":
    Agent((sys.argv[1], PORT), Carried).serve_forever()
