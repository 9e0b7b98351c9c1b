"""What the lab says while it works: every line with the seconds since the start, and a sign of life while it waits."""

import sys
import threading
import time
from contextlib import contextmanager


class LabError(Exception):
    """A failure with a message for a person; `details` is shown below it (the tail of a log, say)."""

    def __init__(self, message, details=""):
        super().__init__(message)
        self.details = details


class Report:
    # Without a terminal there is no line to redraw: a new line now and then shows that the lab still lives.
    QUIET_INTERVAL = 20.0
    TERMINAL_INTERVAL = 0.5

    def __init__(self, stream=None):
        self.stream = stream or sys.stdout
        self.started = time.monotonic()
        self.lock = threading.Lock()
        self.open_line = False

    def elapsed(self):
        return time.monotonic() - self.started

    def say(self, text=""):
        with self.lock:
            self._clear()
            for line in text.split("\n"):
                print(f"[{self.elapsed():6.1f}s] {line}", file=self.stream)
            self.stream.flush()

    def plain(self, text=""):
        """A line of somebody else's (a test, the demo) without our clock."""
        with self.lock:
            self._clear()
            print(text, file=self.stream, flush=True)

    @contextmanager
    def busy(self, text, detail=lambda: ""):
        """Says `text`, then shows that it still runs (with what `detail` returns), then how long it took."""
        begun = time.monotonic()
        if not self.stream.isatty():
            self.say(text + " …")
        done = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(text, detail, begun, done), daemon=True)
        watcher.start()
        failed = True
        try:
            yield
            failed = False
        finally:
            done.set()
            watcher.join()
            self.say(f"{text}: {'FAILED after ' if failed else ''}{time.monotonic() - begun:.1f} s")

    def _watch(self, text, detail, begun, done):
        terminal = self.stream.isatty()
        while not done.wait(self.TERMINAL_INTERVAL if terminal else self.QUIET_INTERVAL):
            more = detail()
            line = f"{text} … {time.monotonic() - begun:.0f} s" + (f": {more}" if more else "")
            if terminal:
                with self.lock:
                    self._clear()
                    self.stream.write(f"[{self.elapsed():6.1f}s] {line}"[:160])
                    self.stream.flush()
                    self.open_line = True
            else:
                self.say(line)

    def _clear(self):
        if self.open_line:
            self.stream.write("\r\033[K")
            self.open_line = False
