"""The command line, as a person and as a script use it."""

import json

from client import vfioctl
from harness import expect, expect_equal, test
from machine import EDU, NVME, differences, driver, snapshot_all


@test()
def list_for_people():
    text = vfioctl("list").stdout
    for word in (EDU, NVME, "nvme", "e1000e"):
        expect(word in text, f"no {word} in:\n{text}")


@test()
def list_as_json():
    found = json.loads(vfioctl("list", "--json").stdout)
    devices = found["devices"] if isinstance(found, dict) else found
    expect(any(device["address"] == EDU for device in devices), "edu is not in the list")


@test()
def show():
    text = vfioctl("show", NVME).stdout
    for word in (NVME, "nvme", "MSI-X 2048", "BAR 0", "capabilities"):
        expect(word in text, f"no {word} in:\n{text}")


@test(deadline=120)
def whole_round():
    before = snapshot_all()
    plan = vfioctl("bind", EDU, "--dry-run").stdout
    expect("vfio-pci" in plan, f"no vfio-pci in the plan:\n{plan}")
    expect_equal(differences(before, snapshot_all()), [], "after --dry-run")
    vfioctl("bind", EDU)
    expect_equal(driver(EDU), "vfio-pci", "driver")
    text = vfioctl("selftest", EDU, "--count", "20").stdout
    for word in ("intx", "msi", "p99"):
        expect(word in text.lower(), f"no {word} in:\n{text}")
    expect("msi" in vfioctl("interrupts", EDU).stdout.lower(), "no msi in interrupts")
    vfioctl("restore", EDU)
    expect_equal(differences(before, snapshot_all()), [], "after restore")


@test()
def failures_are_named():
    for arguments in (("show", "0000:7f:00.0"), ("bind", "0000:7f:00.0"), ("restore", "0000:7f:00.0")):
        result = vfioctl(*arguments, check=False)
        expect(result.returncode != 0, f"{arguments} ended with 0")
        expect("0000:7f:00.0" in result.stderr, f"{arguments}: does not name the device: {result.stderr}")
        expect("[io.vfiod.DeviceNotFound]" in result.stderr, f"{arguments}: does not name the error: {result.stderr}")


@test()
def usage():
    result = vfioctl("no-such-verb", check=False)
    expect(result.returncode not in (0, 1), f"a wrong verb ended with {result.returncode}")
    expect("usage" in (result.stderr + result.stdout).lower(), result.stderr)
