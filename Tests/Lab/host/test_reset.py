"""Resets: by every method that a device has, of a whole bus, and what becomes of a device that does not come back."""

import errno
import fcntl
import json
import mmap
import os
import pathlib
import struct

from client import bind, call, devices, error_of, restore, self_test, vfioctl
from harness import cleanup, expect, expect_equal, test, wait_until
from holder import Holder, hold
from machine import (
    E1000E,
    EDU,
    NVME,
    PCI,
    SHARED_EDU,
    SHARED_EDU2,
    SIBLING,
    differences,
    driver,
    first_virtual_function,
    read,
    run,
    service_pid,
    snapshot_all,
    write,
)
from test_recovery import begin, kill_vfiod

SIBLING_CONSENT = [f"iommu-group-sibling-in-use={SIBLING}", f"network-address={SIBLING}"]
SHARED = [SHARED_EDU, SHARED_EDU2, SIBLING]
RECORDS = pathlib.Path("/var/lib/vfiod")
VFIO_DEVICE_GET_PCI_HOT_RESET_INFO = 0x3B70
VFIO_DEVICE_PCI_HOT_RESET = 0x3B71


def reset(address, **parameters):
    """The lines of its progress."""
    lines = []
    call("Reset", more=True, on_progress=lambda reply: lines.append(reply["progress"]), device=address, **parameters)
    return lines


def details(address):
    return call("Describe", device=address)["details"]


def state(address):
    return devices()[address]["state"]


def listed(address):
    """What the kernel lists, in order."""
    path = PCI / address / "reset_method"
    return path.read_text().split() if path.exists() else []


def every_method(address, wanted, **consent):
    before = snapshot_all()
    bind(address, **consent)
    bound = snapshot_all()
    methods = details(address)["resetMethods"]
    for method in wanted:
        expect(method in methods, f"{address} has {methods}, not {method}")
    for method in methods:
        if method == "bus":
            continue
        lines = reset(address, method=method)
        expect(any(f"by {method}" in line for line in lines), f"no word of {method}: {lines}")
        expect_equal((state(address), driver(address)), ("bound", "vfio-pci"), f"{address} after {method}")
        expect_equal(differences(bound, snapshot_all()), [], f"settings after {method}")
    reset(address)
    expect_equal(details(address).get("quarantine"), None, "quarantine")
    restore(address)
    expect_equal(differences(before, snapshot_all()), [], "after Restore")


@test(deadline=120)
def every_method_of_e1000e():
    every_method(E1000E, ["pm"], consent=["network-address"])


@test(deadline=120)
def every_method_of_nvme():
    every_method(NVME, ["flr"])


@test(deadline=120)
def every_method_of_a_virtual_function():
    """It has all ones in place of its ids."""
    every_method(first_virtual_function(), ["flr"])


@test(deadline=120)
def a_reset_resets():
    """What stood in a register of the device is gone after it."""
    bind(NVME)
    config = PCI / NVME / "config"
    # The device must be awake, and answer in memory space, for as long as its register is looked at.
    control = read(PCI / NVME / "power/control").decode()
    write(PCI / NVME / "power/control", "on")
    command = struct.unpack("<H", config.read_bytes()[4:6])[0]
    with open(config, "r+b", buffering=0) as file:
        file.seek(4)
        file.write(struct.pack("<H", command | 2))
    with open(PCI / NVME / "resource0", "r+b", buffering=0) as file:
        registers = mmap.mmap(file.fileno(), 4096)
    # INTMS, the mask of interrupts (NVMe 1.4 section 3.1.3): ones written are set, and a reset clears them.
    registers[0x0C:0x10] = struct.pack("<I", 1)
    expect_equal(struct.unpack("<I", registers[0x0C:0x10])[0], 1, "INTMS before the reset")
    reset(NVME, method="flr")
    expect_equal(struct.unpack("<I", registers[0x0C:0x10])[0], 0, "INTMS after the reset")
    registers.close()
    with open(config, "r+b", buffering=0) as file:
        file.seek(4)
        file.write(struct.pack("<H", command))
    write(PCI / NVME / "power/control", control)
    restore(NVME)


@test()
def plan_and_refusals():
    """A plan changes nothing; what is not bound, has no such method or is held is refused by name."""
    before = snapshot_all()
    for address in (EDU, E1000E, NVME):
        expect_equal(error_of("Reset", device=address).name, "io.vfiod.WrongState", f"Reset of {address}, not bound")
        expect_equal(error_of("Release", device=address).name, "io.vfiod.WrongState", f"Release of {address}")
    expect_equal(error_of("Reset", device="0000:77:00.0").name, "io.vfiod.DeviceNotFound", "Reset of no device")
    expect_equal(differences(before, snapshot_all()), [], "devices")
    bind(NVME)
    bound = snapshot_all()
    methods = listed(NVME)
    plan = call("Plan", operation="reset", device=NVME)
    expect_equal(plan["refusedBy"], [], "what stands against it")
    steps = [(step["action"], os.path.basename(step["target"]), step.get("value")) for step in plan["plan"]["steps"]]
    expect(("write", "reset", "1") in steps, f"no reset in {steps}")
    expect_equal(steps[-1][:2], ("verify", "config"), "last step")
    for method in ("nonsense", "FLR", "", "flr pm", "bus", "x" * 5000):
        for dry_run in (True, False):
            error = error_of("Reset", device=NVME, method=method, dryRun=dry_run)
            expect_equal(error.name, "io.vfiod.NoSuchResetMethod", f"error for {method[:20]!r}")
            expect_equal(error.parameters["available"], methods, "methods named")
    holder = Holder(NVME)
    cleanup(holder.release)
    error = error_of("Reset", device=NVME)
    expect_equal(error.name, "io.vfiod.Refused", "error")
    expect_equal([blocker["code"] for blocker in error.parameters["blockers"]], ["held"], "blockers")
    expect(str(holder.process.pid) in error.parameters["blockers"][0]["message"], f"no pid in {error}")
    expect_equal(error_of("Release", device=NVME).name, "io.vfiod.WrongState", "Release of what is not quarantined")
    holder.release()
    expect_equal(differences(bound, snapshot_all()), [], "devices while bound")
    restore(NVME)


@test()
def without_a_method():
    """edu on the root bus has no reset: that is said, and takes consent."""
    expect_equal([note["code"] for note in details(EDU)["notes"]], ["no-reset"], "notes about edu")
    expect_equal(details(NVME)["notes"], [], "notes about nvme")
    bind(EDU)
    error = error_of("Reset", device=EDU)
    expect_equal([blocker["code"] for blocker in error.parameters["blockers"]], ["no-reset"], "blockers")
    expect(error.parameters["blockers"][0]["consent"], "it takes no consent")
    expect_equal(error_of("Reset", device=EDU, method="bus").parameters["available"], [], "methods")
    reset(EDU, consent=["no-reset"])
    expect_equal(state(EDU), "bound", "state")
    restore(EDU)


@test()
def command_line():
    bind(NVME)
    cases = (
        (("reset", NVME), 0),
        (("reset", NVME, "--method", "flr"), 0),
        (("reset", NVME, "--method", "nonsense"), 1),
        (("reset", NVME, "--dry-run"), 0),
        (("reset", EDU), 1),
        (("reset",), 64),
        (("plan", "reset", NVME), 0),
        (("plan", "reset", EDU), 1),
        (("release", NVME), 1),
    )
    for arguments, wanted in cases:
        expect_equal(vfioctl(*arguments, check=False).returncode, wanted, f"exit status of {arguments}")
    text = vfioctl("reset", NVME, "--method", "nonsense", check=False).stderr
    expect("flr" in text and "io.vfiod.NoSuchResetMethod" in text, text)
    expect("no-reset" in vfioctl("show", EDU).stdout, "show says nothing of no-reset")
    restore(NVME)


@test(deadline=180)
def bus():
    """All behind the bridge are reset together, once all are bound; before, the plan names who is not."""
    before = snapshot_all()
    bind(SHARED_EDU, consent=SIBLING_CONSENT)
    cleanup(restore_shared)
    plan = call("Plan", operation="reset", device=SHARED_EDU)
    targets = [os.path.basename(step["target"]) for step in plan["plan"]["steps"] if step["action"] == "hot-reset"]
    expect_equal(targets, SHARED, "what the plan resets")
    found = [(blocker["code"], blocker.get("member")) for blocker in plan["refusedBy"]]
    expect_equal(found, [("hot-reset-member", SHARED_EDU2)], "what stands against it")
    error = error_of("Reset", device=SHARED_EDU, method="bus")
    expect_equal(error.name, "io.vfiod.Refused", "error")
    bind(SHARED_EDU2)
    lines = reset(SHARED_EDU, method="bus")
    named = next((line for line in lines if "the kernel resets" in line), "")
    for address in SHARED:
        expect(address in named, f"the kernel's set has no {address}: {lines}")
        expect_equal((state(address), driver(address)), ("bound", "vfio-pci"), f"{address} after the reset")
    for address in (SHARED_EDU, SHARED_EDU2):
        reports, passed = self_test(address, type="msi", count=3)
        expect(passed, f"{address} does not work after the reset: {reports}")
    restore(SHARED_EDU2)
    restore(SHARED_EDU)
    expect_equal(differences(before, snapshot_all()), [], "after Restore")


def restore_shared():
    for address in (SHARED_EDU2, SHARED_EDU):
        if state(address) in ("bound", "quarantined"):
            restore(address)


def raw(device, request, words, size=2048):
    """An ioctl's result by its errno's name, and the words after it."""
    buffer = bytearray(struct.pack(f"<{len(words)}I", *words).ljust(size, b"\0"))
    try:
        fcntl.ioctl(device, request, buffer)
        name = "ok"
    except OSError as error:
        name = errno.errorcode[error.errno]
    return name, struct.unpack(f"<{size // 4}I", buffer)


@test(deadline=120)
def hot_reset_rules():
    """The kernel's rules as the unit tests' fake has them (VFIORules.bus)."""
    bind(SHARED_EDU, consent=SIBLING_CONSENT)
    cleanup(restore_shared)
    bind(SHARED_EDU2)
    container, group, device = hold(SHARED_EDU)
    try:
        for room, wanted in ((0, "ENOSPC"), (2, "ENOSPC"), (3, "ok"), (9, "ok")):
            name, words = raw(device, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, [12 + 8 * room, 0, 0])
            expect_equal((name, words[2]), (wanted, 3), f"with room for {room}")
        cases = (
            ([12, 0, 0], "EINVAL"),
            ([16, 1, 1, group], "EINVAL"),
            ([28, 0, 4, group, group, group, group], "EINVAL"),
            ([16, 0, 1, 1 << 20], "EBADF"),
            ([16, 0, 1, container], "EINVAL"),
            ([16, 0, 1, group], "ok"),
        )
        for words, wanted in cases:
            expect_equal(raw(device, VFIO_DEVICE_PCI_HOT_RESET, words)[0], wanted, f"hot reset with {words}")
    finally:
        for descriptor in (device, group, container):
            os.close(descriptor)
    restore_shared()


@test(deadline=120)
def quarantine():
    """A device that is found otherwise after an interrupted reset is refused to every use until it is released."""
    before = snapshot_all()
    bind(NVME)
    config = PCI / NVME / "config"
    command = struct.unpack("<H", config.read_bytes()[4:6])[0]
    record = RECORDS / f"{NVME}.json"
    run("systemctl", "stop", "vfiod.service")
    intent = json.loads(record.read_text())
    intent.update(phase="resetting", step="reset", reset={"method": "flr", "command": command & ~4})
    record.write_text(json.dumps(intent))
    with open(config, "r+b", buffering=0) as file:
        file.seek(4)
        file.write(struct.pack("<H", command | 4))
    wait_until(lambda: state(NVME) == "quarantined", 30, "the device is quarantined")
    reason = details(NVME)["quarantine"]
    expect("DMA" in reason and "flr" in reason, f"reason: {reason}")
    for method, parameters in (("Bind", {}), ("SelfTest", {"type": "msix", "vectors": 1})):
        error = error_of(method, device=NVME, **parameters)
        expect_equal([blocker["code"] for blocker in error.parameters["blockers"]], ["quarantined"], method)
    expect("quarantined" in vfioctl("show", NVME).stdout, "show says nothing")
    kill_vfiod()
    expect_equal(state(NVME), "quarantined", "state after the kill")
    with open(config, "r+b", buffering=0) as file:
        file.seek(4)
        file.write(struct.pack("<H", command & ~4))
    reset(NVME)
    expect_equal(state(NVME), "quarantined", "state after a reset that came out well")
    vfioctl("release", NVME)
    expect_equal((state(NVME), details(NVME).get("quarantine")), ("bound", None), "state after Release")
    reports, passed = self_test(NVME, type="msix", vectors=4, count=3)
    expect(passed, f"it does not work: {reports}")
    restore(NVME)
    expect_equal(differences(before, snapshot_all()), [], "after Restore")


@test(deadline=180)
def killed_during_a_reset():
    """The next vfiod finds the device whole, with its methods as before."""
    before = snapshot_all()
    bind(NVME)
    methods = listed(NVME)
    for _ in range(3):
        begin("io.vfiod.Reset", device=NVME, method="flr")
        wait_until(lambda: '"resetting"' in read(RECORDS / f"{NVME}.json").decode(), 30, "the reset is under way")
        kill_vfiod()
        wait_until(lambda: state(NVME) == "bound", 30, "the device is found whole")
        expect_equal(listed(NVME), methods, "reset_method")
    restore(NVME)
    expect_equal(differences(before, snapshot_all()), [], "after Restore")
    expect(service_pid() > 0, "vfiod does not run")
