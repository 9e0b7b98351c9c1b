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
def machine(report, variant, with_vfiod=True, update=False, extra=None):
    """The kept machine's channel; boots the machine if there is none."""
    with _lock() as folder:
        state = _state()
        if state and state["variant"] != variant.__dict__:
            raise LabError(f"the kept machine is another one ({Variant(**state['variant']).name}); `lab stop` ends it")
        if not state:
            channel = _boot(report, folder, variant, with_vfiod, extra)
        else:
            channel = _connect(folder)
            if update:
                _update(report, channel, folder, with_vfiod, extra)
        try:
            yield channel
        finally:
            channel.close()


def _boot(report, folder, variant, with_vfiod, extra):
    packages.ensure(report)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    new = None
    try:
        its_image = image.ensure(report, variant.kernel)
        tree = build.payload(report, folder, with_vfiod, extra)
        (folder / "manifest.json").write_text(json.dumps(_manifest(tree)))
        new = Machine(folder, variant, its_image, build.disk(report, folder, tree))
        new.boot(report, kept=True)
        pid = new.process.pid
        (folder / "state.json").write_text(
            json.dumps({"pid": pid, "started": _start_time(pid), "variant": variant.__dict__})
        )
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


# The payload disk cannot be written: the first update puts a copy in its place.
UPDATE = """
if ! mountpoint -q /run/payload || [ ! -e /run/payload/.copy ]; then
    mkdir -p /var/tmp/payload; cp -a /run/payload/. /var/tmp/payload; touch /var/tmp/payload/.copy
    umount /run/payload; mount --bind /var/tmp/payload /run/payload
fi
gzip -dc /var/tmp/update.tar.gz | tar -C /run/payload -xf -
rm /var/tmp/update.tar.gz
exec sh /run/payload/lab/install
"""


def _manifest(tree):
    return {path.relative_to(tree).as_posix(): cache.tree_digest(path) for path in tree.rglob("*") if path.is_file()}


def _update(report, channel, folder, with_vfiod, extra):
    """Brings what changed in the work tree into the running host and installs it again."""
    with cache.run_folder() as work:
        tree = build.payload(report, work, with_vfiod, extra)
        known, now = json.loads((folder / "manifest.json").read_text()), _manifest(tree)
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w:gz", compresslevel=1) as tar:
            for name in now:
                if known.get(name) != now[name]:
                    tar.add(tree / name, arcname=name)
        with report.busy(f"installing in the kept machine ({len(archive.getvalue()) >> 20} MiB changed)"):
            channel.put("/var/tmp/update.tar.gz", archive.getvalue())
            status, text = channel.capture(["sh", "-ec", UPDATE], deadline=180)
            if status != 0:
                raise LabError("installing in the kept machine failed", text)
        (folder / "manifest.json").write_text(json.dumps({**known, **now}))


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
