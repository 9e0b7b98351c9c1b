"""What stands against an operation is seen whole: by its own code, with what was seen, and with the consent it takes."""

import json
import os
import pathlib
import subprocess
import sys

from client import bind, call, devices, error_of, restore, vfioctl
from harness import cleanup, expect, expect_equal, test, wait_until
from machine import (
    E1000E,
    EDU,
    EDU2,
    IGB,
    NVME,
    PCI,
    RNG,
    ROOT_DISK,
    SERIAL,
    SHARED_EDU,
    SHARED_EDU2,
    SIBLING,
    SPARE_DISK,
    XHCI,
    differences,
    driver,
    ping,
    read,
    run,
    snapshot_all,
    write,
)
from test_recovery import kill_vfiod

DRIVERS = pathlib.Path("/sys/bus/pci/drivers")
SIBLING_CONSENT = [f"iommu-group-sibling-in-use={SIBLING}", f"network-address={SIBLING}"]

# What stands against a bind of each device, as codes to be named in the consent, or alone where none is taken.
EXPECTED = {
    EDU: [],
    EDU2: [],
    E1000E: ["network-address"],
    NVME: [],
    RNG: [],
    XHCI: [],
    IGB: [],
    SHARED_EDU: SIBLING_CONSENT,
    SHARED_EDU2: SIBLING_CONSENT,
    SIBLING: ["network-address"],
    SPARE_DISK: [],
    SERIAL: ["open-by-process"],
}


def plan(address, operation="bind", **parameters):
    return call("Plan", operation=operation, device=address, **parameters)


def blockers(address):
    """The blockers of a bind by their codes."""
    return {blocker["code"]: blocker for blocker in plan(address)["plan"]["blockers"]}


def only_blocker(address, code):
    """The one blocker there is. It refuses a bind, and that changes nothing."""
    found = blockers(address)
    expect_equal(list(found), [code], f"blockers of {address}")
    before = snapshot_all()
    error = error_of("Bind", device=address)
    expect_equal(error.name, "io.vfiod.Refused", "error")
    expect_equal([blocker["code"] for blocker in error.parameters["blockers"]], [code], "refused by")
    expect_equal(differences(before, snapshot_all()), [], "devices")
    expect_equal(plan(address, consent=[code])["refusedBy"], [], "refused by, with consent")
    return found[code]


def must(*argv):
    result = run(*argv)
    expect_equal(result.returncode, 0, f"{' '.join(map(str, argv))} ({result.stderr.strip()})")
    return result.stdout


def disk_of(address):
    return next(PCI.joinpath(address).glob("virtio*/block/*")).name


@test()
def every_device():
    """The plan of each device has the codes that it should, and the exit status says whether a bind would begin."""
    before = snapshot_all()
    for address, wanted in EXPECTED.items():
        reply = plan(address)
        found = [blocker.get("consentAs") or blocker["code"] for blocker in reply["plan"]["blockers"]]
        expect_equal(found, wanted, f"what stands against a bind of {address}")
        for blocker in reply["plan"]["blockers"]:
            expect(blocker["message"] and blocker["evidence"] and blocker["remedy"], f"{address}: {blocker}")
        expect_equal(reply["refusedBy"], reply["plan"]["blockers"], f"{address}: refused by")
        expect_equal(plan(address, consent=wanted)["refusedBy"], [], f"{address}: refused by, with consent")
        expect(reply["plan"]["steps"], f"{address}: no steps")
    root = blockers(ROOT_DISK)
    expect(not root["root-disk"]["consent"], f"the root disk takes consent: {root}")
    expect_equal(differences(before, snapshot_all()), [], "devices")


@test()
def exit_status_and_table():
    cases = (
        (("bind", EDU), 0),
        (("bind", E1000E), 1),
        (("bind", E1000E, "--consent", "network-address"), 0),
        (("bind", E1000E, "--consent", "swap"), 1),
        (("bind", ROOT_DISK), 1),
        (("bind", SHARED_EDU, "--consent", SIBLING_CONSENT[0]), 1),
        (("bind", SHARED_EDU, "--consent", SIBLING_CONSENT[0], "--consent", SIBLING_CONSENT[1]), 0),
        (("restore", EDU), 1),
        (("nonsense", EDU), 1),
    )
    for arguments, wanted in cases:
        expect_equal(vfioctl("plan", *arguments, check=False).returncode, wanted, f"exit status of plan {arguments}")
    text = vfioctl("plan", "bind", SHARED_EDU, check=False).stdout
    for word in (SIBLING, "10.0.3.15", "e1000", "STEP", "BLOCKER", *(f"--consent {code}" for code in SIBLING_CONSENT)):
        expect(word in text, f"no {word} in:\n{text}")
    reply = json.loads(vfioctl("plan", "bind", E1000E, "--json", check=False).stdout)
    expect_equal([blocker["code"] for blocker in reply["refusedBy"]], ["network-address"], "refused by, as JSON")


@test(deadline=120)
def sibling_bound_along():
    """Consent that names the sibling binds both, whatever becomes of vfiod; Restore gives both back to the byte."""
    before = snapshot_all()
    expect_equal(error_of("Bind", device=SHARED_EDU, consent=SIBLING_CONSENT[:1]).name, "io.vfiod.Refused", "error")
    expect_equal(differences(before, snapshot_all()), [], "after half the consent")
    bind(SHARED_EDU, consent=SIBLING_CONSENT)
    expect_equal((driver(SHARED_EDU), driver(SIBLING)), ("vfio-pci", "vfio-pci"), "drivers")
    members = {m["address"]: m for m in call("Describe", device=SHARED_EDU)["details"]["iommuGroupMembers"]}
    expect_equal(members[SIBLING].get("onBehalfOf"), SHARED_EDU, "on whose behalf the sibling is bound")
    expect_equal(members[SHARED_EDU].get("onBehalfOf"), None, "on whose behalf the device is bound")
    expect_equal(error_of("Restore", device=SIBLING).name, "io.vfiod.WrongState", "Restore of the sibling alone")
    text = vfioctl("selftest", SHARED_EDU, "--type", "msi", "--count", "3").stdout
    expect("PASSED" in text, f"the device does not work:\n{text}")
    kill_vfiod()
    expect_equal(devices()[SIBLING]["state"], "bound", "state of the sibling after the kill")
    restore(SHARED_EDU)
    expect_equal(driver(SIBLING), "e1000", "driver of the sibling")
    expect_equal(differences(before, snapshot_all()), [], "after Restore")


@test(deadline=120)
def drift():
    """A sibling that somebody gives a host driver is warned of and shown, and Restore still gives everything back."""
    before = snapshot_all()
    bind(SHARED_EDU, consent=SIBLING_CONSENT)
    override = PCI / SIBLING / "driver_override"
    write(DRIVERS / "vfio-pci" / "unbind", SIBLING)
    write(override, "\n")
    write(DRIVERS / "e1000" / "bind", SIBLING)

    def drifted():
        return call("Describe", device=SHARED_EDU)["details"]["drift"]

    found = wait_until(drifted, 10, "Describe tells of the sibling")
    expect_equal([(b["code"], b["member"]) for b in found], [("iommu-group-sibling-in-use", SIBLING)], "drift")
    expect("drift" in vfioctl("show", SHARED_EDU).stdout, "show does not tell")
    fields = ("VFIOD_EVENT=iommu-group-drift", f"VFIOD_DEVICE={SHARED_EDU}", f"VFIOD_MEMBER={SIBLING}")
    journal = run("journalctl", "-u", "vfiod", "-o", "cat", "-p", "warning", *fields).stdout
    expect("cannot be opened any more" in journal, f"no event in the journal: {journal!r}")
    restore(SHARED_EDU)
    wait_until(lambda: not differences(before, snapshot_all()), 30, "every setting is as before")


@test()
def bridge_member():
    """A NIC in a bridge counts without any address, and is taken where that is named."""
    name = os.listdir(PCI / IGB / "net")[0]
    must("ip", "link", "add", "labbr0", "type", "bridge")
    cleanup(run, "ip", "link", "del", "labbr0")
    must("ip", "link", "set", name, "master", "labbr0")
    found = only_blocker(IGB, "network-upper")
    expect(name in found["message"] and "bridge labbr0" in found["message"], f"{found}")
    before = snapshot_all()
    bind(IGB, consent=["network-upper"])
    expect_equal(driver(IGB), "vfio-pci", "driver")
    restore(IGB)
    expect_equal(differences(before, snapshot_all()), [], "after Restore")
    wait_until(lambda: os.listdir(PCI / IGB / "net"), 10, "the interface is back")


@test()
def route_through():
    """A route through a gateway is named beside the address that it goes through."""
    name = os.listdir(PCI / E1000E / "net")[0]
    expect(ping(), "no ping")
    must("ip", "route", "add", "10.0.9.0/24", "via", "10.0.2.2", "dev", name)
    cleanup(run, "ip", "route", "del", "10.0.9.0/24")
    found = blockers(E1000E)
    expect_equal(sorted(found), ["network-address", "network-route"], "blockers")
    expect("10.0.9.0/24" in found["network-route"]["message"], f"{found['network-route']}")


@test()
def disk_with_swap():
    name = disk_of(SPARE_DISK)
    must("mkswap", f"/dev/{name}")
    must("swapon", f"/dev/{name}")
    cleanup(run, "wipefs", "-a", f"/dev/{name}")
    cleanup(run, "swapoff", f"/dev/{name}")
    found = only_blocker(SPARE_DISK, "swap")
    expect(f"/dev/{name}" in found["evidence"], f"{found}")


@test()
def disk_below_logical_volume():
    """What LVM makes of a disk is a device of device mapper with LVM's mark in its uuid; swap on it is seen through it."""
    name = disk_of(SPARE_DISK)
    must("dmsetup", "create", "lab-volume", "-u", "LVM-lab", "--table", f"0 32768 linear /dev/{name} 0")
    cleanup(run, "dmsetup", "remove", "--retry", "lab-volume")
    wait_until(lambda: os.path.exists("/dev/mapper/lab-volume"), 10, "the volume's node")
    wait_until(lambda: "open-by-process" not in blockers(SPARE_DISK), 10, "nobody looks at the volume any more")
    found = only_blocker(SPARE_DISK, "lvm-member")
    expect("lab-volume" in found["message"] and "LVM-lab" in found["evidence"], f"{found}")
    must("mkswap", "/dev/mapper/lab-volume")
    must("swapon", "/dev/mapper/lab-volume")
    cleanup(run, "wipefs", "-a", f"/dev/{name}")
    cleanup(run, "swapoff", "/dev/mapper/lab-volume")
    wait_until(lambda: "open-by-process" not in blockers(SPARE_DISK), 10, "nobody looks at the volume any more")
    expect_equal(sorted(blockers(SPARE_DISK)), ["lvm-member", "swap"], "blockers")


@test()
def disk_in_array():
    """An array of one disk, made through sysfs as mdadm would."""
    name = disk_of(SPARE_DISK)
    must("modprobe", "raid1")
    write("/sys/module/md_mod/parameters/new_array", "md_lab")
    array = pathlib.Path("/sys/block/md_lab/md")
    cleanup(write, array / "array_state", "clear")
    for attribute, value in (
        ("metadata_version", "none"),
        ("level", "raid1"),
        ("raid_disks", "2"),
        ("new_dev", read(f"/sys/block/{name}/dev").decode().strip()),
        (f"dev-{name}/slot", "0"),
        ("component_size", "16384"),
        ("array_state", "active"),
    ):
        write(array / attribute, value)
    wait_until(lambda: "open-by-process" not in blockers(SPARE_DISK), 10, "nobody looks at the array any more")
    found = only_blocker(SPARE_DISK, "raid-member")
    expect("md_lab" in found["message"] and "array_state" in found["evidence"], f"{found}")


@test()
def disk_open_in_a_process():
    """A process that has the disk open is named, and the disk is taken where that is consented to."""
    name = disk_of(SPARE_DISK)
    holder = subprocess.Popen(
        [sys.executable, "-c", f"f = open('/dev/{name}', 'rb'); print(flush=True); __import__('sys').stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    cleanup(holder.wait)
    cleanup(holder.stdin.close)
    holder.stdout.readline()
    found = only_blocker(SPARE_DISK, "open-by-process")
    expect(f"process {holder.pid} (python3" in found["message"], f"{found}")
    before = snapshot_all()
    bind(SPARE_DISK, consent=["open-by-process"])
    restore(SPARE_DISK)
    expect_equal(differences(before, snapshot_all()), [], "after Restore")
