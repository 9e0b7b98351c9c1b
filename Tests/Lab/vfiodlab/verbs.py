"""The short verbs: run, shell, stop, clean."""

import contextlib
import os
import pathlib
import shutil
import signal
import sys
import termios
import tty

from . import cache, host, image, kept
from .report import LabError
from .variant import of_options


@contextlib.contextmanager
def _channel(report, options):
    """A host to run a command in: one of its own, or the kept one."""
    variant = of_options(options)
    if options.keep or options.update:
        with kept.machine(report, variant, not options.no_vfiod, options.update) as channel:
            yield channel
    else:
        with host.booted(report, variant, with_vfiod=not options.no_vfiod) as machine:
            yield machine.channel


def forward(stream, data):
    """A command's output to ours."""
    output = sys.stdout if stream == "out" else sys.stderr
    output.buffer.write(data)
    output.flush()


def run(report, options):
    words = options.command
    argv = words if len(words) > 1 else ["sh", "-c", words[0]]
    with _channel(report, options) as channel:
        for name in options.push:
            path = pathlib.Path(name)
            channel.put(f"/root/{path.name}", path.read_bytes(), path.stat().st_mode & 0o777)
        return channel.run(argv, forward, stdin=0 if options.input else None)


def shell(report, options):
    if not sys.stdin.isatty():
        raise LabError("a shell needs a terminal; for a script: lab run -i -- sh < SCRIPT")
    resized = [True]
    with _channel(report, options) as channel:
        report.say("a root shell in the host; leave it with exit")
        signal.signal(signal.SIGWINCH, lambda *_: resized.append(True))

        def size_if_changed():
            if not resized:
                return None
            resized.clear()
            size = os.get_terminal_size()
            return size.lines, size.columns

        before = termios.tcgetattr(0)
        try:
            tty.setraw(0)
            return channel.run(
                ["bash", "--login"],
                forward,
                stdin=0,
                tty=[24, 80],
                resized=size_if_changed,
                env={"TERM": os.environ.get("TERM", "linux")},
            )
        finally:
            termios.tcsetattr(0, termios.TCSADRAIN, before)


def stop(report, options):
    kept.stop(report)
    return 0


def clean(report, options):
    kept.stop(report)
    wanted = set() if options.all else {image.folder(name) for name in image.IMAGES}
    for path in sorted((cache.CACHE / "images").glob("*")):
        if path not in wanted:
            report.say(f"removing {path}")
            shutil.rmtree(path)
    with cache.run_folder():
        pass  # Entering it sweeps what dead labs left.
    if options.all:
        shutil.rmtree(cache.REPOSITORY / ".build" / "lab", ignore_errors=True)
    return 0
