"""Serves the imitation of AWS until the process that started this one closes its end of stdin."""

import os
import sys
import threading

from moto.server import main


def end_with_parent():
    sys.stdin.buffer.read()
    os._exit(0)


threading.Thread(target=end_with_parent, daemon=True).start()
main(["-H", "127.0.0.1", "-p", sys.argv[1]])
