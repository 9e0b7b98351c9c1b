"""A guest of the host's: Linux in a QEMU that is started as an unprivileged user and may open /dev/kvm, and nothing else.

The guest is the host's own kernel with an initial RAM disk of busybox and the drivers it needs. It takes commands on its
second serial port, one a line, and says how each ended.
"""

import os
import pathlib
import re
import shutil
import socket
import subprocess
import time

from harness import Failure, cleanup, wait_until
from machine import read, run

USER = 65534
FOLDER = pathlib.Path("/run/lab-guests")
MODULES = ("e1000e",)
# Under emulation, and below the host's own; 15 s is what it takes where nothing else runs.
BOOT_DEADLINE = 150

INIT = """#!/bin/sh
/bin/busybox mkdir -p /proc /sys /dev /tmp
/bin/busybox --install -s /bin
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
echo 4 > /proc/sys/kernel/printk
stty -F /dev/ttyS1 raw -echo
exec < /dev/ttyS1 > /dev/ttyS1 2>&1
while :; do
    echo "=== ready"
    while read -r line; do
        eval "$line"
        echo "=== $?"
    done
done
"""


def _release():
    """The newest of the host's kernels, whichever it runs itself."""
    found = sorted(pathlib.Path("/boot").glob("vmlinuz-6.*"), key=lambda path: [int(n) for n in re.findall(r"\d+", path.name)])
    return found[-1].name.removeprefix("vmlinuz-")


def _modules(release):
    """The files of MODULES and of all that they need, relative to the kernel's folder."""
    needs = {}
    for line in pathlib.Path(f"/lib/modules/{release}/modules.dep").read_text().splitlines():
        path, _, others = line.partition(":")
        needs[path] = others.split()
    names = {re.sub(r"\.ko.*", "", path.rsplit("/", 1)[1]).replace("-", "_"): path for path in needs}
    found = []
    for name in MODULES:
        path = names[name]
        found += [one for one in [path, *needs[path]] if one not in found]
    return found


def _initial_ram_disk(release):
    """Made once for all guests of a host."""
    made = FOLDER / f"initrd-{release}"
    if made.exists():
        return made
    root = FOLDER / "root"
    shutil.rmtree(root, ignore_errors=True)
    (root / "bin").mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin/busybox")
    os.symlink("busybox", root / "bin/sh")
    modules = root / "lib/modules" / release
    for path in _modules(release):
        (modules / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(f"/lib/modules/{release}/{path}", modules / path)
    for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        shutil.copy(f"/lib/modules/{release}/{name}", modules / name)
    subprocess.run(["depmod", "-b", root, release], check=True)
    (root / "init").write_text(INIT)
    (root / "init").chmod(0o755)
    with open(made.with_suffix(".part"), "wb") as file:
        subprocess.run(f"cd {root} && find . | busybox cpio -o -H newc", shell=True, check=True, stdout=file, stderr=subprocess.DEVNULL)
    made.with_suffix(".part").rename(made)
    return made


class Guest:
    """One guest. `devices`: QEMU's arguments for them, beside those for memory."""

    last = 0

    def __init__(self, *devices, memory=256, cpus=1):
        Guest.last += 1
        self.name = f"guest{Guest.last}"
        FOLDER.mkdir(exist_ok=True)
        self.folder = FOLDER / self.name
        self.unit = f"lab-{self.name}.service"
        self.devices, self.memory, self.cpus = devices, memory, cpus
        self.socket = None
        self._start()
        cleanup(self.kill)

    def _start(self):
        release = _release()
        initrd = _initial_ram_disk(release)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        os.chown(self.folder, USER, USER)
        run("systemctl", "reset-failed", self.unit)
        started = run(
            "systemd-run",
            f"--unit={self.unit}",
            f"--uid={USER}",
            f"--gid={USER}",
            *(
                f"--property={one}"
                for one in (
                    "SupplementaryGroups=kvm",
                    "DevicePolicy=closed",
                    "DeviceAllow=/dev/kvm rw",
                    "CapabilityBoundingSet=",
                    "NoNewPrivileges=yes",
                    "LimitMEMLOCK=64K",
                    f"WorkingDirectory={self.folder}",
                )
            ),
            "qemu-system-x86_64",
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-machine",
            "q35",
            "-accel",
            "kvm",
            "-cpu",
            "host",
            "-smp",
            str(self.cpus),
            "-m",
            f"{self.memory}M",
            "-kernel",
            f"/boot/vmlinuz-{release}",
            "-initrd",
            initrd,
            "-append",
            "console=ttyS0 quiet panic=-1",
            "-serial",
            "file:console",
            "-serial",
            "unix:commands,server=on,wait=off",
            *self.devices,
        )
        if started.returncode != 0:
            raise Failure(f"systemd-run: {started.stderr}")

    @property
    def process_id(self):
        return int(run("systemctl", "show", "--property=MainPID", "--value", self.unit).stdout)

    def is_running(self):
        return run("systemctl", "is-active", "--quiet", self.unit).returncode == 0

    def said(self):
        """What QEMU said."""
        return run("journalctl", "-o", "cat", "-t", "qemu-system-x86_64", "-u", self.unit).stdout[-700:]

    def _connect(self):
        def connected():
            try:
                made = socket.socket(socket.AF_UNIX)
                made.connect(str(self.folder / "commands"))
                return made
            except OSError:
                if not self.is_running():
                    raise Failure(f"QEMU ended: {self.said()}") from None
                return None

        self.socket = wait_until(connected, 30, "QEMU opens the guest's serial port")
        self.received = b""

    def boot(self):
        """Waits until the guest takes commands."""
        if self.socket is None:
            self._connect()
        self._until(b"=== ready\n", BOOT_DEADLINE)
        return self

    def _until(self, end, seconds):
        deadline = time.monotonic() + seconds
        while True:
            found = re.search(end, self.received)
            if found:
                before, self.received = self.received[: found.start()], self.received[found.end() :]
                return before.decode(errors="replace").replace("\r", ""), found
            self.socket.settimeout(max(0.1, deadline - time.monotonic()))
            try:
                data = self.socket.recv(1 << 16)
            except TimeoutError:
                data = b""
            if not data:
                console = read(self.folder / "console").decode(errors="replace")[-700:]
                raise Failure(f"{self.name} does not answer: {self.received[-300:]!r}; console: {console}; QEMU: {self.said()}")
            self.received += data

    def run(self, command, seconds=60):
        """(status, output) of a shell command in the guest."""
        self.socket.sendall(command.encode() + b"\n")
        output, found = self._until(rb"=== (\d+)\n", seconds)
        return int(found.group(1)), output

    def must(self, command, seconds=60):
        status, output = self.run(command, seconds)
        if status != 0:
            raise Failure(f"{command!r} in {self.name} ended with {status}: {output[-500:]}")
        return output

    def kill(self):
        """SIGKILL, as when it crashes."""
        run("systemctl", "kill", "--signal=KILL", self.unit)
        wait_until(lambda: not self.is_running(), 30, f"{self.name} is gone")
        if self.socket is not None:
            self.socket.close()
            self.socket = None
