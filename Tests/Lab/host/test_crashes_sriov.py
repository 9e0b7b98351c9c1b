"""vfiod is killed at every step of SetVirtualFunctions and of their Restore, and while the kernel makes them."""

import json
import os
import pathlib
import signal
import time

import stops
from client import call, devices, restore
from harness import Failure, cleanup, expect, expect_equal, test, wait_until
from machine import IGB, PCI, differences, driver, first_virtual_function, read, service_pid, snapshot_all
from test_recovery import begin
from test_virtual_functions import give_back

PROCESSES = pathlib.Path("/proc")
RECORD = stops.STATE / f"{IGB}.json"


def make(count):
    call("SetVirtualFunctions", device=IGB, count=count)


def functions():
    return sorted(path.resolve().name for path in (PCI / IGB).glob("virtfn*"))


def is_written():
    """Whether a process of vfiod's is writing the number, or waits for another that does."""
    lines = [read(path) for path in PROCESSES.glob("[0-9]*/cmdline")]
    return any(b"sysfs-write" in line and b"sriov_numvfs" in line for line in lines)


def matrix(operation, count, steps):
    """`steps` are those that must be among what vfiod comes to."""
    cleanup(give_back)
    stops.allow()
    before = snapshot_all()

    def ready():
        if operation == "restore":
            make(count)

    def perform():
        if operation == "restore":
            restore(IGB)
        else:
            make(count)

    ready()
    points = stops.points_of(perform)
    if operation != "restore":
        restore(IGB)
    expect_as(before)
    expect_equal({point.split(":")[1] for point in points}, set(steps), "steps")
    for point in points:
        begun = time.monotonic()
        try:
            ready()
            done = kill_at(point, count, perform, before)
        except Failure as failure:
            raise Failure(f"{point}: {failure}") from None
        print(f"    {point}: {done}, {time.monotonic() - begun:.1f} s", flush=True)


def kill_at(point, count, perform, before):
    """One kill. Returns what the next vfiod did about it."""
    records, lines = stops.kill_at(point, perform)
    step, moment = point.split("@")[0].split(":")[1:]
    if (step, moment) in (("record", "before"), ("forget", "after")):
        expect_equal(records, {}, "records")
        expect_as(before)
        return "nothing to do"
    record = records[IGB]
    if step not in ("created", "restoring") or moment == "after":
        expect_equal(record["step"], step, "recorded step")
    expect_equal(record["virtualFunctions"], count, "recorded: what was asked for")
    settings = before[IGB]
    was = record["before"]
    expect_equal(f"{was['virtualFunctions']}\n".encode(), settings["sriov_numvfs"], "recorded sriov_numvfs")
    expect_equal(was["virtualFunctionProbing"].encode(), settings["sriov_drivers_autoprobe"], "recorded autoprobe")
    expect_equal(was["driver"], settings["driver"], "recorded driver")
    ends = {
        "creating": [
            f"The virtual functions of {IGB} were being made, at {record['step']}; that is taken back.",
            f"virtual-functions of {IGB} is done",
        ],
        "created": [f"{IGB} has the virtual functions that were asked for, as recorded."],
        "restoring": [
            f"A restore of {IGB} was interrupted at {record['step']}; it goes on.",
            f"restore of {IGB} is done",
        ],
    }[record["phase"]]
    stops.expect_said(ends, lines)
    if record["phase"] == "created":
        found = functions()
        expect_equal(len(found), count, "virtual functions")
        expect_equal({driver(address) for address in found}, {None}, "their drivers")
        expect_equal(read(PCI / IGB / "sriov_drivers_autoprobe"), b"0\n", "sriov_drivers_autoprobe")
        restore(IGB)
    expect_as(before)
    return "; ".join(ends)


def expect_as(before):
    wait_until(lambda: not differences(before, snapshot_all()), 30, f"as before: {differences(before, snapshot_all())}")
    expect_equal([path.name for path in stops.STATE.glob("*.json*")], [], "records left")


@test(deadline=400)
def making():
    """In place of one that the host had, with its driver."""
    first_virtual_function()
    matrix("virtual-functions", 3, ("record", "sriov_drivers_autoprobe", "sriov_numvfs", "created"))


@test(deadline=400)
def restoring():
    matrix("restore", 3, ("restoring", "sriov_numvfs", "sriov_drivers_autoprobe", "forget"))


@test(deadline=180)
def killed_while_the_kernel_makes_them():
    """The process that writes their number outlives vfiod: the next one waits for the kernel, and removes what came."""
    cleanup(give_back)
    stops.allow()
    before = snapshot_all()
    for delay in (0, 0.1):
        begin("io.vfiod.SetVirtualFunctions", device=IGB, count=7)
        wait_until(lambda: RECORD.exists() and json.loads(read(RECORD))["step"] == "sriov_numvfs", 30, "the step")
        wait_until(is_written, 30, "the write")
        time.sleep(delay)
        pid = service_pid()
        os.kill(pid, signal.SIGKILL)
        stops.killed(pid)
        expect(not is_written(), "the write has not ended")
        expect_as(before)
        expect_equal((functions(), devices()[IGB]["state"]), ([], "available"), "the device")
