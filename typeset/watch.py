"""`python watch.py make ...`: run a build, and show how far its notebooks are.

In a terminal every notebook has one line, at the bottom: cells done, time so far and
what is left of it. Elsewhere the command takes this one's place, and lines stay plain.
"""

import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

SAID = re.compile(r"executing (\S+): (\d+ of \d+ cells)(?:, (\d+) s left)?\n")
TICK = 0.5  # seconds from one look at the clock to the next


def clock(seconds):
    """Return a time as "1:02"."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


class Board:
    """Lines at the bottom of a terminal, below all that is printed."""

    def __init__(self, columns):
        """Begin with none; `columns` is the width of the terminal."""
        self.columns, self.rows, self.shown = columns, {}, 0

    def take(self, line, now):
        """Take a line of the build; return what of it is to be printed above."""
        if not (said := SAID.fullmatch(line)):
            ended = line.split(": ")[0].removeprefix("executed ")
            self.rows.pop(ended, None)
            return line
        name, cells, left = said.groups()
        began = self.rows[name][0] if name in self.rows else now
        self.rows[name] = began, cells, left and now + int(left)
        return ""

    def draw(self, above, now):
        """Return what to write to the terminal: `above`, then a line per notebook."""
        back = f"\x1b[{self.shown}A" if self.shown else ""
        self.shown, lines = len(self.rows), []
        for name, (began, cells, end) in self.rows.items():
            left = f", about {clock(max(0, end - now))} left" if end else ""
            lines.append(f"{name}: {cells}, {clock(now - began)}{left}")
        return f"{back}\r\x1b[J{above}" + "".join(
            x[: self.columns] + "\n" for x in lines
        )


def main(command):
    """Run a command; return its exit status."""
    os.environ["STARTED"] = f"{time.time()}"
    if not sys.stdout.isatty():
        os.execvp(command[0], command)
    os.environ["WATCHED"] = "yes"
    board, lines = Board(shutil.get_terminal_size().columns - 1), queue.Queue()
    signal.signal(signal.SIGINT, lambda *_: None)  # the command ends, and this after it
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        close_fds=False,  # among them the lock, and those of make's jobs
    )
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    threading.Thread(
        target=lambda: [*map(lines.put, process.stdout)], daemon=True
    ).start()
    while process.poll() is None or not lines.empty():
        try:
            above = board.take(lines.get(timeout=TICK), time.monotonic())
        except queue.Empty:
            above = ""
        print(board.draw(above, time.monotonic()), end="", flush=True)
    board.rows.clear()  # of notebooks that failed
    print(board.draw("", time.monotonic()), end="", flush=True)
    return process.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
