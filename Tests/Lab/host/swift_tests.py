#!/usr/bin/env python3
"""Runs Swift tests in the host, with devices bound to vfio-pci for those that open them: arguments go to Swift Testing.

vfiod has no part in it: the tests hold the code below it against the kernel.
"""

import os
import subprocess
import sys

import machine
from harness import undo

DEVICES = {
    "edu": machine.EDU,
    "edu2": machine.EDU2,
    "e1000e": machine.E1000E,
    "nvme": machine.NVME,
    "xhci": machine.XHCI,
}


def rebind(address, override):
    """To the driver that `override` names, or to the device's own."""
    device = machine.PCI / address
    machine.write(device / "driver_override", override or "\n")
    if machine.driver(address):
        machine.write(device / "driver/unbind", address)
    machine.write("/sys/bus/pci/drivers_probe", address)


machine.run("modprobe", "vfio-pci")
devices = dict(DEVICES, igbvf=machine.first_virtual_function())
for name in devices.values():
    rebind(name, "vfio-pci")
try:
    environment = dict(
        os.environ, VFIOD_LAB="1", VFIOD_LAB_DEVICES=",".join(f"{name}={address}" for name, address in devices.items())
    )
    status = subprocess.run(["/run/payload/swift-tests/test-run", *sys.argv[1:]], env=environment).returncode
finally:
    for name in DEVICES.values():
        rebind(name, None)
    undo()
sys.exit(status)
