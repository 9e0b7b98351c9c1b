#!/usr/bin/env python3
"""The host's side of the level `boot`; every answer is JSON.

claims.py before              the drivers of the devices
claims.py apply               configures claims and applies them, twice; what came of it
claims.py look DEVICE...      what has become of devices in this boot, and what vfiod missed
claims.py restore DEVICE...   gives devices back; what they are like then
"""

import json
import os
import pathlib
import sys

from client import call, devices, vfioctl
from harness import wait_until
from machine import E1000E, NVME, PCI, driver, read, run

CONFIGURATION = pathlib.Path("/etc/vfiod/vfiod.toml")
CLAIMS = pathlib.Path("/etc/vfiod/boot-claims")


def before():
    return {address: driver(address) for address in (E1000E, NVME)}


def apply():
    serial = call("Describe", device=E1000E)["details"]["serialNumber"]
    disk = devices()[NVME]
    CONFIGURATION.write_text(
        CONFIGURATION.read_text()
        + f"""
[[device]]
name = "card"
serial = "{serial}"
bind = true
claim-at-boot = true
consent = ["network-address"]
[[device]]
name = "disk"
address = "{NVME}"
vendor = "{disk['vendorId']}"
device = "{disk['deviceId']}"
bind = true
claim-at-boot = true
"""
    )
    # As on a host whose initial RAM disk has the card's driver, which the lab's leaves out.
    with open("/etc/initramfs-tools/modules", "a") as modules:
        modules.write("e1000e\n")
    release = os.uname().release
    pathlib.Path(f"/boot/initrd.img-{release}").touch()
    first = vfioctl("apply", check=False)
    made = read(f"/boot/initrd.img-{release}")
    again = vfioctl("apply", check=False)
    lines = CLAIMS.read_text().splitlines()
    return {
        "status": first.returncode,
        "again": again.returncode,
        "again-changed": made != read(f"/boot/initrd.img-{release}") or "initial RAM disk" in again.stderr,
        "claims": [line.split()[0] for line in lines if not line.startswith("#")],
        "said": first.stdout + first.stderr,
    }


def kernel_log():
    """Without the times. The journal has what a process wrote to it, such as vfiod-claim, under another name."""
    return [line.split("] ", 1)[-1] for line in run("dmesg").stdout.splitlines()]


def state(address):
    log = kernel_log()
    return {
        "driver": driver(address),
        "override": read(PCI / address / "driver_override").decode().strip(),
        "state": devices()[address]["state"],
        # What a driver of the host says of a device when it probes it.
        "probed-by": sorted({line.split()[0] for line in log if f" {address}" in line and line.split()[0] in DRIVERS}),
        "claimed": any("vfiod-claim" in line and f"{address} is kept for vfio-pci" in line for line in log),
    }


DRIVERS = ("e1000e", "nvme")


def look(*addresses):
    found = {address: state(address) for address in addresses}
    said = run("journalctl", "--boot", "-u", "vfiod", "-o", "cat", "VFIOD_EVENT=boot-claim-missed").stdout
    return {**found, "missed": said.splitlines(), "log": [line for line in kernel_log() if "vfiod-claim" in line]}


def restore(*addresses):
    for address in addresses:
        call("Restore", device=address)
        wait_until(lambda one=address: driver(one), 10, f"{address} has a driver")
    return {address: state(address) for address in addresses}


VERBS = {"before": before, "apply": apply, "look": look, "restore": restore}
print(json.dumps(VERBS[sys.argv[1]](*sys.argv[2:])))
