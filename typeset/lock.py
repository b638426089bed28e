"""`python lock.py COMMAND ...`: run a command alone, after any other of this folder.

The lock is on the Makefile, and ends with the command.
"""

import fcntl
import os
import signal
import sys

signal.signal(signal.SIGINT, signal.SIG_DFL)
held = os.open("Makefile", os.O_RDONLY)
try:
    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print("make: waiting for another make in this folder to end", flush=True)
    fcntl.flock(held, fcntl.LOCK_EX)
os.set_inheritable(held, True)
os.execvp(sys.argv[1], sys.argv[1:])
