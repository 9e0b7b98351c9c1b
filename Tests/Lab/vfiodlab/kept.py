"""A machine that stays up between runs, for a developer's speed. Nothing that decides about a change uses it.

There is one for each work tree. It lives in its own folder of the cache, is found again by its process id and start
time, and takes one client at a time.
"""

import contextlib
import fcntl
import hashlib
import io
import json
import os
import shutil
import signal
import tarfile
import time

from . import build, cache, host, image, packages
from .channel import Channel, ChannelClosed
from .machine import Machine
from .report import LabError
from .variant import Variant


def _folder():
    return cache.CACHE / "kept" / hashlib.sha256(str(cache.REPOSITORY).encode()).hexdigest()[:12]


def _start_time(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[19]
    except OSError:
        return None


def _state():
    """The state of the machine that runs, or None."""
    try:
        state = json.loads((_folder() / "state.json").read_text())
    except (OSError, ValueError):
        return None
    return state if _start_time(state["pid"]) == state["started"] else None


@contextlib.contextmanager
def _lock():
    folder = _folder()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{folder}.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LabError("the kept machine is in use by another lab command of this work tree") from None
        yield folder


@contextlib.contextmanager
def machine(report, variant, with_vfiod=True, update=False):
    """The kept machine's channel; boots the machine if there is none."""
    with _lock() as folder:
        state = _state()
        if state and state["variant"] != variant.__dict__:
            raise LabError(f"the kept machine is another one ({Variant(**state['variant']).name}); `lab stop` ends it")
        if not state:
            channel = _boot(report, folder, variant, with_vfiod)
        else:
            channel = _connect(folder)
            if update:
                _update(report, channel, folder, with_vfiod)
        try:
            yield channel
        finally:
            channel.close()


def _boot(report, folder, variant, with_vfiod):
    packages.ensure(report)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    new = None
    try:
        its_image = image.ensure(report, variant.kernel)
        tree = build.payload(report, folder, with_vfiod)
        new = Machine(folder, variant, its_image, build.disk(report, folder, tree))
        new.boot(report, kept=True)
        pid = new.process.pid
        (folder / "state.json").write_text(json.dumps(
            {"pid": pid, "started": _start_time(pid), "variant": variant.__dict__}))
        report.say("the machine stays up: `lab stop` powers it off")
        return new.channel
    except BaseException as error:
        if new:
            new.kill()
            if isinstance(error, LabError):
                host.show_console(new, error)
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _connect(folder):
    channel = Channel(folder / "channel.sock")
    channel.greet()
    end = time.monotonic() + 20
    while time.monotonic() < end:
        message = channel.receive(0.5)
        if message and message.get("hello") == channel.nonce:
            return channel
    raise LabError("the kept machine does not answer; `lab stop` ends it")


def _update(report, channel, folder, with_vfiod):
    """Brings the work tree as it is now into the running host and installs it again."""
    with cache.run_folder() as work:
        tree = build.payload(report, work, with_vfiod)
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            tar.add(tree, arcname=".")
        with report.busy("installing in the kept machine"):
            channel.put("/run/payload.tar", archive.getvalue())
            status, text = channel.capture(
                ["sh", "-ec", "umount -q /run/payload || rm -rf /run/payload; mkdir -p /run/payload; "
                 "tar -C /run/payload -xf /run/payload.tar; rm /run/payload.tar; sh /run/payload/lab/install"], deadline=120)
            if status != 0:
                raise LabError("installing in the kept machine failed", text)


def stop(report):
    with _lock() as folder:
        state = _state()
        if not state:
            shutil.rmtree(folder, ignore_errors=True)
            report.say("no machine is kept for this work tree")
            return
        with report.busy("powering the kept machine off"):
            with contextlib.suppress(LabError, OSError, ChannelClosed):
                channel = _connect(folder)
                channel.send(op="poweroff")
                end = time.monotonic() + 30
                while _state() and time.monotonic() < end:
                    time.sleep(0.1)
            if _state():
                os.kill(state["pid"], signal.SIGKILL)
                while _state():
                    time.sleep(0.05)
        shutil.rmtree(folder, ignore_errors=True)
