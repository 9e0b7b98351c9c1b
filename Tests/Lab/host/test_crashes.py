"""vfiod is killed before and after every step of Bind and of Restore, once at each.

The steps are those that vfiod itself comes to. What each kill left on disk must say the step and what was before; the
next vfiod takes the rest back or finishes it, and a device that is recorded as bound stays bound.
"""

import time

import stops
from client import bind, devices, restore
from harness import Failure, cleanup, expect, expect_equal, test, wait_until
from machine import EDU, EDU2, IGB, PCI, SHARED_EDU, SIBLING, differences, driver, run, snapshot_all, write

SIBLING_CONSENT = [f"iommu-group-sibling-in-use={SIBLING}", f"network-address={SIBLING}"]

# A record's names for what Restore puts back.
RECORDED = {
    "driverOverride": "driver_override",
    "powerControl": "power/control",
    "enable": "enable",
    "resetMethod": "reset_method",
}


def matrix(operation, device, consent=None, meanwhile=lambda: None, steps=()):
    """`meanwhile` changes a bound device; `steps` are those that must be among what vfiod comes to."""
    stops.allow()
    before = snapshot_all()

    def ready():
        if operation == "restore":
            bind(device, consent=consent)
            meanwhile()

    def perform():
        if operation == "bind":
            bind(device, consent=consent)
        else:
            restore(device)

    ready()
    points = stops.points_of(perform)
    if operation == "bind":
        restore(device)
    expect_equal(differences(before, snapshot_all()), [], "without a kill")
    found = {point.split(":")[1] for point in points}
    expect(found >= set(steps), f"steps {sorted(found)}, should have {sorted(steps)}")
    for point in points:
        begun = time.monotonic()
        try:
            ready()
            step = kill_at(point, device, perform, before)
        except Failure as failure:
            raise Failure(f"{point}: {failure}") from None
        print(f"    {point}: {step}, {time.monotonic() - begun:.1f} s", flush=True)


def kill_at(point, device, perform, before):
    """One kill. Returns what the next vfiod did about it."""
    records, lines = stops.kill_at(point, perform)
    expect_recorded(point, records, before)
    ends = [end for address, record in records.items() for end in endings(address, record, records)]
    stops.expect_said(ends, lines)
    if records.get(device, {}).get("phase") == "bound":
        for address in records:
            expect_equal((driver(address), devices()[address]["state"]), ("vfio-pci", "bound"), f"{address}")
        restore(device)
    wait_until(lambda: not differences(before, snapshot_all()), 30, f"as before: {differences(before, snapshot_all())}")
    expect_equal([path.name for path in stops.STATE.glob("*.json*")], [], "records left")
    return "; ".join(ends) or "nothing to do"


def expect_recorded(point, records, before):
    """The record of the point's device: its step, and what was before byte for byte."""
    (_, step, moment), address = point.split("@")[0].split(":"), point.split("@")[1]
    if (step, moment) in (("record", "before"), ("forget", "after")):
        expect(address not in records, f"a record of {address}")
        return
    expect(address in records, f"no record of {address}")
    record, settings = records[address], before[address]
    if step not in ("bound", "restoring") or moment == "after":
        expect_equal(record["step"], step, f"{address}: step")
    was = record["before"]
    expect_equal(was.get("driver"), settings["driver"], f"{address}: recorded driver")
    for name, attribute in RECORDED.items():
        exists = (PCI / address / attribute).exists()
        wanted = settings[attribute].decode() if exists else None
        expect_equal(was.get(name), wanted, f"{address}: recorded {attribute}")
    if "virtualFunctions" in was:
        functions = f"{was['virtualFunctions']}\n".encode()
        expect_equal(functions, settings["sriov_numvfs"], f"{address}: recorded sriov_numvfs")


def endings(address, record, records):
    """The lines in which vfiod tells what became of a record."""
    behalf = record.get("onBehalfOf")
    if record["phase"] == "binding":
        return [
            f"A bind of {address} was interrupted at {record['step']}; it is taken back.",
            f"bind of {address} is done",
        ]
    if record["phase"] == "restoring":
        return [
            f"A restore of {address} was interrupted at {record['step']}; it goes on.",
            f"restore of {address} is done",
        ]
    if behalf is None or records.get(behalf, {}).get("phase") == "bound":
        return [f"{address} is bound, as recorded."]
    return [
        f"{address} was bound on behalf of {behalf}, which is not bound; it is given back.",
        f"restore of {address} is done",
    ]


@test(deadline=400)
def bind_of_igb():
    matrix("bind", IGB, steps=("record", "driver_override", "unbind", "probe", "bound"))


@test(deadline=400)
def restore_of_igb():
    """Somebody chose another reset method meanwhile, and vfio-pci leaves power/control as it likes it."""
    write(PCI / IGB / "power/control", "auto")
    cleanup(write, PCI / IGB / "power/control", "on")
    steps = "restoring", "unbind", "driver_override", "probe", "reset_method", "power/control", "forget"
    matrix("restore", IGB, meanwhile=lambda: write(PCI / IGB / "reset_method", "bus"), steps=steps)


@test(deadline=400)
def restore_of_edu_without_driver():
    """It was enabled, and somebody disabled it meanwhile."""
    write(PCI / EDU / "enable", "1")
    cleanup(write, PCI / EDU / "enable", "0")

    def disable():
        write("/sys/bus/pci/drivers/vfio-pci/unbind", EDU)
        write(PCI / EDU / "enable", "0")
        write("/sys/bus/pci/drivers_probe", EDU)

    matrix("restore", EDU, meanwhile=disable, steps=("restoring", "unbind", "driver_override", "enable", "forget"))


@test(deadline=400)
def restore_of_edu_with_two_drivers():
    """The one that it did not have comes first, so that it must be bound by name."""
    twins = [address for address, device in devices().items() if device["deviceId"] == "11e8"]
    for name in ("pci-stub", "uio_pci_generic"):
        expect_equal(run("modprobe", name).returncode, 0, f"modprobe {name}")
        cleanup(run, "modprobe", "-r", name)
        write(f"/sys/bus/pci/drivers/{name}/new_id", "1234 11e8")
        for address in twins:
            if driver(address) == name:
                write(f"/sys/bus/pci/drivers/{name}/unbind", address)
    write("/sys/bus/pci/drivers/uio_pci_generic/bind", EDU2)
    steps = "restoring", "unbind", "driver_override", "probe", "unbind_other", "bind", "forget"
    matrix("restore", EDU2, steps=steps)


@test(deadline=600)
def bind_of_a_shared_iommu_group():
    matrix("bind", SHARED_EDU, SIBLING_CONSENT, steps=("record", "driver_override", "unbind", "probe", "bound"))


@test(deadline=600)
def restore_of_a_shared_iommu_group():
    steps = "restoring", "unbind", "driver_override", "probe", "forget"
    matrix("restore", SHARED_EDU, SIBLING_CONSENT, steps=steps)
