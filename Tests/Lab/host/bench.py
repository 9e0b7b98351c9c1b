#!/usr/bin/env python3
"""The benchmarks on real devices: MSI-X and INTx of the NVMe controller, MSI of the USB controller."""

import resource
import subprocess
import sys

import machine
from client import bind, restore
from harness import undo


def main():
    addresses = [machine.NVME, machine.XHCI]
    # An eventfd for each vector, twice.
    resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))
    for address in addresses:
        bind(address)
    try:
        return subprocess.run(["/root/interrupt-benchmarks", "--devices"]).returncode
    finally:
        for address in addresses:
            restore(address)
        undo()


sys.exit(main())
