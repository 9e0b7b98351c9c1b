#!/usr/bin/env python3
"""Runs Swift tests in the host, with devices bound to vfio-pci for those that open them: arguments go to Swift Testing.

vfiod has no part in it: the tests hold the code below it against the kernel.
"""

import os
import re
import subprocess
import sys

import machine
from harness import cleanup, undo

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


# What the kernel says when a line storms, a lock is held or an address is wrong: no test sees that by itself.
TROUBLE = re.compile(r"nobody cared|WARNING: |BUG: |Oops|general protection|soft lockup|blocked for more than")


def kernel_log():
    return machine.run("dmesg").stdout.splitlines()


machine.run("modprobe", "vfio-pci")
if "IR-" not in machine.read("/proc/interrupts").decode():
    # Nothing is remapped: VFIO wants to be told that this is meant.
    machine.write(machine.UNSAFE_INTERRUPTS, "Y")
    cleanup(machine.write, machine.UNSAFE_INTERRUPTS, "N")
logged = len(kernel_log())
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
trouble = [line for line in kernel_log()[logged:] if TROUBLE.search(line)]
print("\n".join(["the kernel's log:", *trouble]) if trouble else "nothing in the kernel's log", flush=True)
sys.exit(status or (3 if trouble else 0))
