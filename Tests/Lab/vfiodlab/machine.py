"""The host: a QEMU process, watched while it boots, ended when the lab ends."""

import json
import os
import signal
import socket
import subprocess
import time

from . import devices, process
from .channel import Channel
from .packages import tool
from .report import LabError

BOOT_DEADLINE = float(os.environ.get("VFIOD_LAB_BOOT_DEADLINE", "240"))
POWER_OFF_DEADLINE = 60.0

# What the console says when there is no point in waiting any longer.
HOPELESS = ("Kernel panic", "emergency mode", "Cannot open root device", "(initramfs)")

# What a kernel says that will not go on.
DEADLY = ("Kernel panic", "BUG:", "Oops", "general protection fault", "kernel BUG at")

# How the console tells how far the boot is.
STAGES = (
    ("Loading, please wait", "initial ram disk"),
    ("Welcome to", "systemd"),
    ("Reached target", "services"),
    ("vfiod-lab.service", "the lab's agent"),
)


class Machine:
    def __init__(self, folder, variant, image, payload, memory=2048, cpus=2, state=None, root=None, moved=()):
        """What outlives the machine: `state`, a disk for vfiod's state directory, and `root`, a copy of the image's disk.
        `moved`: see devices.arguments."""
        self.folder = folder
        self.variant = variant
        self.image = image
        self.payload = payload
        self.state = state
        self.root = root
        self.moved = moved
        self.memory = memory
        self.cpus = cpus
        self.console = folder / "console.log"
        self.log = folder / "qemu.log"
        self.socket_path = folder / "channel.sock"
        self.qmp_path = folder / "qmp.sock"
        self.process = None
        self.channel = None

    def arguments(self):
        nvme = self.folder / "nvme.img"
        devices.write_nvme(nvme)
        spare = self.folder / "spare.img"
        devices.write_spare(spare)
        append = " ".join(["root=/dev/vda rw console=ttyS0 loglevel=3 panic=-1", self.variant.kernel_arguments()])
        return [
            tool("qemu-system-x86_64"),
            "-name",
            "vfiod-lab",
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
            "-machine",
            "q35,kernel-irqchip=off",
            "-accel",
            "tcg,thread=multi",
            "-cpu",
            "qemu64,+svm,+npt,+x2apic,+rdrand",
            "-smp",
            str(self.cpus),
            "-m",
            str(self.memory),
            *self.variant.machine_arguments(),
            "-kernel",
            str(self.image.kernel),
            "-initrd",
            str(self.image.initrd),
            "-append",
            append,
            "-chardev",
            f"file,id=console,path={self.console}",
            "-serial",
            "chardev:console",
            "-qmp",
            f"unix:{self.qmp_path},server=on,wait=off",
            "-drive",
            f"if=none,id=root,format=raw,file={self.root},cache=unsafe"
            if self.root
            else f"if=none,id=root,format=raw,file={self.image.disk},snapshot=on,file.locking=off",
            "-device",
            "virtio-blk-pci,drive=root,bus=pcie.0,addr=1.0",
            "-drive",
            f"if=none,id=payload,file={self.payload},format=raw,readonly=on",
            "-device",
            "virtio-blk-pci,drive=payload,serial=payload,bus=pcie.0,addr=2.0",
            *self._state_arguments(),
            "-chardev",
            f"socket,id=channel,path={self.socket_path},server=on,wait=off",
            "-device",
            "virtio-serial-pci,bus=pcie.0,addr=3.0",
            "-device",
            "virtserialport,chardev=channel,name=lab",
            *devices.arguments(nvme, spare, self.moved),
        ]

    def _state_arguments(self):
        if not self.state:
            return []
        return [
            "-drive",
            f"if=none,id=state,file={self.state},format=raw,cache=writeback",
            "-device",
            "virtio-blk-pci,drive=state,serial=state,bus=pcie.0,addr=4.0",
        ]

    def start(self, kept=False):
        """Starts QEMU. A kept one survives the lab, any other dies with it however the lab ends."""
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                self.arguments(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=None if kept else process.die_with_parent(signal.SIGKILL),
                cwd=self.folder,
            )

    def boot(self, report, kept=False):
        """Starts the host and waits until its agent has installed the payload."""
        self.stage = "starting QEMU"
        with report.busy(f"booting the host ({self.variant.name})", lambda: self.stage):
            self.start(kept)
            begun = time.monotonic()
            said = set()

            def arrived(name):
                self.stage = name
                if name not in said:
                    said.add(name)
                    report.say(f"  {time.monotonic() - begun:5.1f} s  {name}")

            while not self.qmp_path.exists() or not self.socket_path.exists():
                self._check(begun)
                time.sleep(0.05)
            self.channel = Channel(self.socket_path)
            self.channel.greet()
            while True:
                self._check(begun)
                text = self._console()
                if text:
                    arrived("kernel")
                for mark, name in STAGES:
                    if mark in text:
                        arrived(name)
                message = self.channel.receive(0.5)
                if message is None or "stage" not in message:
                    continue
                if message["stage"] == "installing":
                    arrived("installing vfiod")
                elif message["stage"] == "failed":
                    raise LabError("installing vfiod in the host failed", message.get("text", ""))
                elif message["stage"] == "ready":
                    self.installed = message.get("text", "").strip()
                    return

    def _console(self):
        try:
            return self.console.read_text(errors="replace")
        except OSError:
            return ""

    def _check(self, begun):
        if self.process.poll() is not None:
            raise LabError(
                f"QEMU ended with status {self.process.returncode}", process.tail(self.log) + "\n" + self.console_tail()
            )
        text = self._console()
        for mark in HOPELESS:
            if mark in text:
                raise LabError(f"the host did not come up: {mark}", self.console_tail())
        if time.monotonic() - begun > BOOT_DEADLINE:
            raise LabError(f"the host did not come up within {BOOT_DEADLINE:.0f} s", self.console_tail())

    def ending(self):
        """What is known of why the host is gone, in a few words; empty if it is still there."""
        panic = [line.strip() for line in self._console().splitlines() if any(mark in line for mark in DEADLY)][:2]
        # What QEMU itself said is in its log; a host that powered itself off ends with status 0.
        try:
            status = self.process.wait(5)
        except subprocess.TimeoutExpired:
            return "; ".join(panic)
        return "; ".join([*panic, f"QEMU ended with status {status}", *process.tail(self.log, 2).splitlines()])

    def console_tail(self, lines=40):
        return "\n".join(["the host's console ends:", process.tail(self.console, lines)])

    def qmp(self, command, **arguments):
        """One QMP command, for tests that pull plugs."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(os.fspath(self.qmp_path))
            stream = connection.makefile("rw")
            stream.readline()
            for request in ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments}):
                stream.write(json.dumps(request) + "\n")
                stream.flush()
                while "event" in (reply := json.loads(stream.readline())):
                    pass
        if "error" in reply:
            raise LabError(f"QEMU refused {command}: {reply['error']['desc']}")
        return reply["return"]

    def power_off(self, report):
        """A clean end; one that does not come is a failure, because a host that cannot power off is a finding."""
        with report.busy("powering the host off", lambda: process.last_line(self.console)):
            self.channel.send(op="poweroff")
            self._await_end("power off")

    def reboot(self, report):
        """A clean reboot, which ends QEMU where the next boot would begin."""
        with report.busy("rebooting the host", lambda: process.last_line(self.console)):
            self.channel.start(["systemctl", "reboot"])
            self._await_end("reboot")

    def _await_end(self, what):
        end = time.monotonic() + POWER_OFF_DEADLINE
        while self.process.poll() is None:
            if time.monotonic() > end:
                raise LabError(f"the host did not {what} within {POWER_OFF_DEADLINE:.0f} s", self.console_tail())
            time.sleep(0.1)

    def kill(self):
        if self.channel:
            self.channel.close()
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
