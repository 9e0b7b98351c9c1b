"""The level `power`: hosts that lose their power, or are rebooted, in the middle of things.

vfiod's state directory is on a disk that outlives the host, with a journaled file system. Killing QEMU is the power
loss: what the host had not written is gone. Three boots: in the first the power goes, the second is rebooted.
"""

import json

from . import build, devices, expected, image, process
from .machine import Machine
from .packages import tool
from .report import LabError
from .variant import Variant

LEVEL = "power"
ADDRESS = {device.name: device.address for device in devices.DEVICES}

# What is under way when the power goes, host/power.py has the points: {test: {device: (phase, step) on disk}}.
LOST = {
    "lost-during-bind": {"xhci": ("binding", "unbind")},
    "lost-during-bind-of-a-shared-iommu-group": {"shared-edu1": ("binding", "probe"), "sibling": ("binding", "probe")},
    "lost-during-restore": {"igb": ("restoring", "unbind"), "e1000e": ("restoring", "probe")},
    "lost-while-bound": {"edu": ("bound", "bound")},
}
REBOOTED = {
    "reboot-while-bound": {
        "xhci": ("bound", "bound"),
        "shared-edu1": ("bound", "bound"),
        "sibling": ("bound", "bound"),
    }
}
TESTS = {**LOST, **REBOOTED}


def run(report, tally, folder, payload=None):
    """Runs the level, all of it if any of its tests is wanted: they share the boots."""
    tests = expected.read(LEVEL)
    if not tally.wants_any(LEVEL, tests):
        return
    report.say(f"{len(tests)} tests of lost power ({LEVEL})")
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
        self.state = folder / "state.img"
        argv = [tool("mke2fs"), "-q", "-t", "ext4", "-O", "has_journal", "-L", "state", self.state, "64M"]
        process.run(report, "making the state disk", argv, folder / "state.log")

    def results(self):
        first = self._boot(1)
        try:
            fresh = self._tell(first, "settings")
            self.report.say(f"  {self._host(first, 'half-way').strip()}")
        finally:
            # The power goes.
            first.kill()
        lost = self._on_disk("lost")
        second = self._boot(2)
        try:
            settings, log = self._tell(second, "settings"), self._tell(second, "log")
            self._host(second, "bound")
            second.reboot(self.report)
        finally:
            second.kill()
        results = {name: self._judge(wanted, lost, log, fresh, settings) for name, wanted in LOST.items()}
        rebooted = self._on_disk("rebooted")
        third = self._boot(3)
        try:
            settings, log = self._tell(third, "settings"), self._tell(third, "log")
            third.power_off(self.report)
        finally:
            third.kill()
        for name, wanted in REBOOTED.items():
            results[name] = self._judge(wanted, rebooted, log, fresh, settings)
        return results

    def _boot(self, number):
        folder = self.folder / f"power-{number}"
        folder.mkdir()
        machine = Machine(folder, self.variant, self.image, self.payload, state=self.state)
        try:
            machine.boot(self.report)
        except BaseException:
            machine.kill()
            raise
        return machine

    def _host(self, machine, verb):
        status, text = machine.channel.capture(["python3", "-B", "/run/payload/lab/power.py", verb], deadline=120)
        if status != 0:
            raise LabError(f"{verb} failed in the host", text)
        return text

    def _tell(self, machine, verb):
        return json.loads(self._host(machine, verb))

    def _on_disk(self, name):
        """The records as they are on the disk of a host that is down: {address: record}."""
        disk, files = self.folder / f"{name}.img", self.folder / name
        files.mkdir()
        log = self.folder / f"{name}.log"
        process.run_quietly(["cp", "--sparse=always", self.state, disk], log)
        # Replays the file system's journal, as mounting it does; 1 says that it had to, 4 and more are errors.
        if process.run_quietly([tool("e2fsck"), "-p", disk], log) > 1:
            raise LabError("the state disk's file system is damaged", process.tail(log))
        process.run_quietly([tool("debugfs"), "-R", f"rdump / {files}", disk], log)
        found = {}
        for path in files.glob("*.json"):
            try:
                found[path.stem] = json.loads(path.read_text())
            except ValueError as error:
                raise LabError(f"{path.name} is not whole: {error}", path.read_text()) from None
        return found

    def _judge(self, wanted, records, log, fresh, settings):
        """What is wrong with what became of some devices, or None."""
        others = set(records) - {ADDRESS[device] for test in TESTS.values() for device in test}
        trouble = [f"a record of {address}" for address in sorted(others)]
        for device, state in wanted.items():
            address = ADDRESS[device]
            record = records.get(address, {})
            if (found := (record.get("phase"), record.get("step"))) != state:
                trouble.append(f"{device}'s record says {found}, not {state}")
            if record and (driver := fresh[address]["driver"]) != record["before"].get("driver"):
                trouble.append(f"{device}'s record says {record['before'].get('driver')}, the driver was {driver}")
            if f"The record of {address} is closed: the host was restarted since." not in log["said"]:
                trouble.append(f"{device}'s record was not closed")
            if fresh[address] != settings[address]:
                trouble.append(f"{device} was {fresh[address]} and is {settings[address]}")
        if log["left"]:
            trouble.append(f"left in the state directory: {log['left']}")
        return "; ".join(trouble) or None
