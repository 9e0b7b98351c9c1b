#!/usr/bin/env python3
"""Bind, self-test and Restore over all devices, again and again: nothing may add up."""

import os
import sys
import time

import machine
from client import bind, restore, self_test
from harness import undo, expect, expect_equal


def figures():
    pid = machine.service_pid()
    return {
        "process": pid,
        "descriptors": machine.descriptors(pid),
        "threads": len(os.listdir(f"/proc/{pid}/task")),
        "resident KiB": machine.resident_kib(pid),
    }


def round_over(address):
    before = machine.snapshot(address)
    bind(address, **({"consent": ["network-address"]} if address == machine.E1000E else {}))
    reports, passed = self_test(address, count=2, **({"vectors": 64} if address == machine.NVME else {}))
    restore(address)
    expect(passed, f"{address}: {reports}")
    expect_equal(machine.snapshot(address), before, f"{address} after Restore")


def main():
    rounds = int(sys.argv[1])
    addresses = [machine.EDU, machine.E1000E, machine.NVME, machine.XHCI, machine.first_virtual_function()]
    start = None
    for number in range(1, rounds + 1):
        begun = time.monotonic()
        for address in addresses:
            round_over(address)
        now = figures()
        # The first round makes what stays: caches, the event loop's own descriptors.
        start = start or now
        print(
            f"round {number:3} of {rounds}: {time.monotonic() - begun:5.1f} s  "
            + "  ".join(f"{name} {value}" for name, value in now.items()),
            flush=True,
        )
    undo()
    for name in ("process", "descriptors", "threads"):
        expect_equal(now[name], start[name], f"{name} after {rounds} rounds")
    expect(now["resident KiB"] < start["resident KiB"] + 8192, f"memory grew from {start} to {now}")
    print(f"{rounds} rounds over {len(addresses)} devices: descriptors and threads as after the first")


main()
