#!/usr/bin/env python3
"""The demo: every kind of interrupt of five devices into a guest and back, told as it happens.

What it shows comes from vfioctl, as a user sees it; what it claims ("as before") is checked here against sysfs.
"""

import subprocess
import sys
import time

import machine
from harness import Failure, undo, expect, wait_until

COUNT = {machine.NVME: "2"}
failures = []


def title(text):
    print(f"\n━━ {text} " + "━" * max(0, 96 - len(text)), flush=True)


def step(name, begun, text):
    print(f"   {name:<9} {time.monotonic() - begun:6.1f} s  {text}", flush=True)


def vfioctl(*arguments, show=False):
    """Runs vfioctl; its output is shown as it comes, or returned. A status other than 0 ends the device's turn."""
    process = subprocess.Popen(["vfioctl", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines = []
    for line in process.stdout:
        lines.append(line)
        if show:
            print("   │ " + line.rstrip(), flush=True)
    if process.wait() != 0:
        raise Failure(
            f"vfioctl {' '.join(arguments)} ended with {process.returncode}" + ("" if show else ": " + "".join(lines))
        )
    return "".join(lines)


def turn(name, address, purpose, consent=(), after=None):
    title(f"{name}  {address}  {purpose}")
    try:
        # Reading a namespace or a link that comes up must not be mistaken for a change.
        machine.run("udevadm", "settle")
        before = machine.snapshot_all()
        had = machine.driver(address) or "no driver"
        begun = time.monotonic()
        vfioctl("bind", address, *(word for code in consent for word in ("--consent", code)))
        expect(machine.driver(address) == "vfio-pci", f"driver after bind: {machine.driver(address)}")
        step("bind", begun, f"{had} → vfio-pci" + (f"  (consent: {', '.join(consent)})" if consent else ""))
        try:
            begun = time.monotonic()
            vfioctl("selftest", address, "--count", COUNT.get(address, "10"), show=True)
            step("selftest", begun, "every vector arrived exactly once per raise, on its own vector only")
        finally:
            begun = time.monotonic()
            vfioctl("restore", address)
        changed = machine.differences(before, machine.snapshot_all())
        expect(not changed, "changed by bind and restore: " + "; ".join(changed))
        step("restore", begun, f"vfio-pci → {had}; " + ", ".join(machine.ATTRIBUTES[:5]) + ": as before, to the byte")
        if after:
            begun = time.monotonic()
            step("use", begun, after())
    except Failure as failure:
        failures.append(f"{name} {address}: {failure}")
        print(f"   FAILED    {failure}", flush=True)


def pings():
    expect(machine.ping(), "no ping after restore")
    return "pings its gateway again"


def namespace_reads():
    wait_until(lambda: machine.shell("test -b /dev/nvme0n1").returncode == 0, 30, "/dev/nvme0n1 is there")
    with open("/dev/nvme0n1", "rb") as namespace:
        first = namespace.read(512)
    expect(first.startswith(b"vfiod lab block 00000000"), f"namespace reads {first[:30]}")
    return "its namespace reads the same blocks"


def main():
    title("the host's devices")
    print(vfioctl("list"), end="", flush=True)
    expect(machine.ping(), "the host's network does not work")
    turn("edu", machine.EDU, "raises its own INTx and MSI")
    turn("e1000e", machine.E1000E, "the host's network card: INTx, MSI, five MSI-X vectors", ["network-address"], pings)
    turn("nvme", machine.NVME, "2,048 MSI-X vectors", after=namespace_reads)
    turn("xhci", machine.XHCI, "16 MSI vectors")
    turn("igb VF", machine.first_virtual_function(), "a virtual function of an SR-IOV card: 3 MSI-X vectors")
    undo()
    title("the host's devices, afterwards")
    print(vfioctl("list"), end="", flush=True)
    print()
    for failure in failures:
        print(f"FAILED {failure}")
    return 1 if failures else 0


sys.exit(main())
