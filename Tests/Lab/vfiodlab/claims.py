"""The level `boot`: devices that are claimed before their drivers are there.

The host's disk outlives it, and the initial RAM disk that `vfioctl apply` made is the one of the next boot. Three boots: in
the first the claims are made; in the second the devices are where they were, in the third they were moved.
"""

import dataclasses
import json

from . import build, devices, expected, image, process
from .machine import Machine
from .packages import tool
from .report import LabError
from .variant import Variant

LEVEL = "boot"
ADDRESS = {device.name: device.address for device in devices.DEVICES}
# The claim of the first is by its serial number, that of the second by its address.
CARD, DISK = ADDRESS["e1000e"], ADDRESS["nvme"]
MOVED = {"e1000e": "17.0", "nvme": "18.0"}
CARD_MOVED, DISK_MOVED = "0000:00:17.0", "0000:00:18.0"

TESTS = (
    "apply-makes-the-initrd",
    "claimed-before-its-driver",
    "restored-to-its-default-driver",
    "moved-and-found-by-serial",
    "moved-and-not-taken-by-address",
)


def run(report, tally, folder, payload):
    """All of its tests if one of its tests is wanted: they share the boots."""
    tests = expected.read(LEVEL)
    if not tally.wants_any(LEVEL, tests):
        return
    report.say(f"{len(tests)} tests of claims at boot ({LEVEL})")
    try:
        tally.settle(LEVEL, tests, Level(report, folder, payload or build.payload(report, folder)).results())
    except LabError as error:
        tally.fail(LEVEL, "the host", str(error))
        report.plain(error.details)


class Level:
    def __init__(self, report, folder, payload):
        self.report = report
        self.folder = folder
        self.variant = Variant()
        self.image = image.ensure(report, self.variant.kernel)
        self.payload = build.disk(report, folder, payload)
        self.root = folder / "root.img"
        argv = ["cp", "--sparse=always", self.image.disk, self.root]
        process.run(report, "copying the host's disk", argv, folder / "copy.log")

    def results(self):
        first = self._boot(1)
        try:
            before = self._tell(first, "before")
            made = self._tell(first, "apply")
            self.report.say(f"  {made['said'].strip()}")
            first.power_off(self.report)
        finally:
            first.kill()
        initrd = self.folder / "initrd"
        argv = [tool("debugfs"), "-R", f"dump /boot/initrd.img-{self.image.release} {initrd}", self.root]
        process.run_quietly(argv, self.folder / "dump.log")
        if not initrd.exists() or not initrd.stat().st_size:
            raise LabError("the host has made no initial RAM disk", process.tail(self.folder / "dump.log"))
        self.image = dataclasses.replace(self.image, initrd=initrd)
        second = self._boot(2)
        try:
            claimed = self._tell(second, "look", CARD, DISK)
            self.report.say(f"  {claimed}")
            restored = self._tell(second, "restore", CARD, DISK)
            second.power_off(self.report)
        finally:
            second.kill()
        third = self._boot(3, MOVED)
        try:
            moved = self._tell(third, "look", CARD_MOVED, DISK_MOVED)
            self.report.say(f"  {moved}")
            third.power_off(self.report)
        finally:
            third.kill()
        return dict(zip(TESTS, self._judge(before, made, claimed, restored, moved)))

    def _boot(self, number, moved=()):
        folder = self.folder / f"boot-{number}"
        folder.mkdir()
        machine = Machine(folder, self.variant, self.image, self.payload, root=self.root, moved=moved)
        try:
            machine.boot(self.report)
        except BaseException:
            machine.kill()
            raise
        return machine

    def _tell(self, machine, verb, *arguments):
        argv = ["python3", "-B", "/run/payload/lab/claims.py", verb, *arguments]
        status, text = machine.channel.capture(argv, deadline=240)
        if status != 0:
            raise LabError(f"{verb} failed in the host", text)
        return json.loads(text)

    def _judge(self, before, made, claimed, restored, moved):
        """What is wrong, or None, of each test in order."""

        def differing(found, wanted):
            wrong = [f"{key} is {found.get(key)!r}, not {value!r}" for key, value in wanted.items()]
            wrong = [text for text, (key, value) in zip(wrong, wanted.items()) if found.get(key) != value]
            return "; ".join(wrong) or None

        def taken(found, address):
            return differing(
                found[address],
                {"driver": "vfio-pci", "override": "vfio-pci", "state": "bound", "probed-by": [], "claimed": True},
            )

        drivers = {CARD: "e1000e", DISK: "nvme"}
        yield differing(made, {"status": 0, "again": 0, "again-changed": False, "claims": ["card", "disk"]})
        yield taken(claimed, CARD) or taken(claimed, DISK)
        yield "; ".join(
            filter(None, (differing(restored[one], {"driver": driver, "override": "(null)", "state": "available"})
                          for one, driver in drivers.items()))
        ) or differing(before, drivers)
        yield taken(moved, CARD_MOVED)
        found = moved[DISK_MOVED]
        yield differing(found, {"driver": "nvme", "override": "(null)", "state": "available", "claimed": False}) or (
            None
            if any(f"{DISK_MOVED} has address {DISK_MOVED} instead of {DISK}" in line for line in moved["missed"])
            else f"nothing of the address in {moved['missed']}"
        )
