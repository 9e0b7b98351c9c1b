"""vfiod is killed at every step of Reset: the device is whole, stays bound, and has its methods as before."""

import time

import stops
from client import bind, call, devices, restore
from harness import Failure, cleanup, expect_equal, test
from machine import E1000E, IGB, NVME, SHARED_EDU, SHARED_EDU2, SIBLING, differences, snapshot_all
from test_reset import SIBLING_CONSENT, listed, restore_shared

# What the next vfiod says of an interrupted reset, by the step that is in the record.
ENDINGS = {
    "record": ", before anything was reset; it is taken back.",
    "reset_method": ", before anything was reset; it is taken back.",
    "open": "; vfiod looks whether it is whole.",
    "reset": "; vfiod looks whether it is whole.",
    "put-back": "; it goes on.",
    "verify": "; vfiod looks whether it is whole.",
}


def matrix(device, method, steps, others=(), at=None):
    """Of a device that is bound, with `others`, which are reset along. `at`: the steps to kill at, all if None."""
    stops.allow()
    bound = snapshot_all()
    methods = listed(device)

    def perform():
        call("Reset", device=device, method=method)

    points = stops.points_of(perform)
    expect_equal(differences(bound, snapshot_all()), [], "without a kill")
    expect_equal([point.split(":")[1] for point in points if ":before@" in point], list(steps), "steps")
    for point in points:
        if at and point.split(":")[1] not in at:
            continue
        begun = time.monotonic()
        try:
            records, lines = stops.kill_at(point, perform)
            expect_recorded(point, records[device], method, None if others else methods)
            ends = [end for address in (device, *others) for end in endings(address, records[address])]
            stops.expect_said(ends, lines)
            for address in (device, *others):
                quarantine = call("Describe", device=address)["details"].get("quarantine")
                expect_equal((devices()[address]["state"], quarantine), ("bound", None), f"{address}")
            expect_equal(differences(bound, snapshot_all()), [], "settings")
        except Failure as failure:
            raise Failure(f"{point}: {failure}") from None
        print(f"    {point}: {'; '.join(ends)}, {time.monotonic() - begun:.1f} s", flush=True)


def expect_recorded(point, record, method, methods):
    """The step, and what was before: the methods, if it is a reset of the function."""
    _, step, moment = point.split("@")[0].split(":")
    if (step, moment) in (("record", "before"), ("bound", "after")):
        expect_equal((record["phase"], record["step"], record.get("reset")), ("bound", "bound", None), "record")
        return
    wanted = "verify" if step == "bound" else step
    expect_equal((record["phase"], record["step"]), ("resetting", wanted), "record")
    expect_equal(record["reset"]["method"], method, "recorded method")
    kept = None if methods in (None, [method]) else " ".join(methods)
    expect_equal(record["reset"].get("resetMethod"), kept, "recorded reset_method")


def endings(address, record):
    """The lines in which vfiod tells what became of a record."""
    if record["phase"] == "bound":
        return [f"{address} is bound, as recorded."]
    step = record["step"]
    return [f"A reset of {address} was interrupted at {step}{ENDINGS[step]}", f"reset of {address} is done"]


def of_function(device, method, **consent):
    before = snapshot_all()
    bind(device, **consent)
    methods = listed(device)
    chosen = ["reset_method"] if len(methods) > 1 else []
    back = ["put-back"] if len(methods) > 1 else []
    matrix(device, method, ("record", *chosen, "reset", *back, "bound"))
    restore(device)
    expect_equal(differences(before, snapshot_all()), [], "after Restore")


@test(deadline=400)
def nvme():
    of_function(NVME, "flr")


@test(deadline=400)
def e1000e():
    of_function(E1000E, "pm", consent=["network-address"])


@test(deadline=400)
def igb():
    """It has several methods, so that one that is not the first has to be chosen."""
    expect_equal(listed(IGB)[:2], ["flr", "pm"], "methods")
    of_function(IGB, "pm")


@test(deadline=400)
def bus():
    """Three functions, through VFIO: what is reset along has a record of its own."""
    before = snapshot_all()
    bind(SHARED_EDU, consent=SIBLING_CONSENT)
    cleanup(restore_shared)
    bind(SHARED_EDU2)
    steps = ("record", "record", "record", "open", "reset", "bound", "bound", "bound")
    matrix(SHARED_EDU, "bus", steps, others=(SHARED_EDU2, SIBLING), at=("open", "reset"))
    restore(SHARED_EDU2)
    restore(SHARED_EDU)
    expect_equal(differences(before, snapshot_all()), [], "after Restore")
