"""The host itself: its devices, their state in sysfs, and what the kernel and systemd say."""

import os
import pathlib
import re
import subprocess
import time

from harness import cleanup, wait_until

# The outer side's device table, vfiodlab/devices.py, by the same names.
EDU = "0000:00:10.0"
EDU2 = "0000:00:0c.0"
E1000E = "0000:00:11.0"
NVME = "0000:00:12.0"
RNG = "0000:00:13.0"
XHCI = "0000:00:16.0"
PEER = "0000:00:06.0"
IGB = "0000:01:00.0"
SHARED_EDU = "0000:03:01.0"
SIBLING = "0000:03:03.0"
SHARED_EDU2 = "0000:03:02.0"
ROOT_DISK = "0000:00:01.0"
SPARE_DISK = "0000:00:05.0"
SERIAL = "0000:00:03.0"

# (INTx, MSI, MSI-X) vectors that VFIO finds.
VECTORS = {EDU: (1, 1, 0), E1000E: (1, 1, 5), NVME: (1, 0, 2048), XHCI: (1, 16, 0)}

# What Restore must put back to the byte.
ATTRIBUTES = ("driver_override", "power/control", "enable", "sriov_numvfs", "reset_method", "sriov_drivers_autoprobe")

PCI = pathlib.Path("/sys/bus/pci/devices")
UNSAFE_INTERRUPTS = "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts"


def read(path):
    try:
        return pathlib.Path(path).read_bytes()
    except OSError as error:
        return f"<{os.strerror(error.errno)}>".encode()


def write(path, text):
    with open(path, "w") as file:
        file.write(text)


def driver(address):
    link = PCI / address / "driver"
    return os.path.basename(os.readlink(link)) if link.is_symlink() else None


def snapshot(address):
    state = {name: read(PCI / address / name) for name in ATTRIBUTES}
    state["driver"] = driver(address)
    return state


def snapshot_all():
    return {path.name: snapshot(path.name) for path in sorted(PCI.iterdir())}


def differences(before, after):
    """What changed, in words."""
    found = []
    for address in sorted(set(before) | set(after)):
        old, new = before.get(address, {}), after.get(address, {})
        for name in sorted(set(old) | set(new)):
            if old.get(name) != new.get(name):
                found.append(f"{address} {name}: {old.get(name)} is now {new.get(name)}")
    return found


def run(*argv, timeout=60, **options):
    return subprocess.run(argv, capture_output=True, text=True, timeout=timeout, **options)


def shell(command, timeout=60):
    return run("bash", "-c", command, timeout=timeout)


def service_pid(unit="vfiod.service"):
    return int(run("systemctl", "show", "--property=MainPID", "--value", unit).stdout)


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def resident_kib(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", read(f"/proc/{pid}/status").decode()).group(1))


def ping(gateway="10.0.2.2", seconds=30):
    """Whether the gateway behind the e1000e answers, within the time that a link and its address take to come up."""
    end = time.monotonic() + seconds
    while run("ping", "-c", "1", "-W", "2", gateway).returncode != 0:
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True


def first_virtual_function():
    """Makes one igb virtual function; returns its address once its driver has it."""
    write(PCI / IGB / "sriov_numvfs", "1")
    cleanup(write, PCI / IGB / "sriov_numvfs", "0")
    address = os.path.basename(os.readlink(PCI / IGB / "virtfn0"))
    wait_until(lambda: driver(address) == "igbvf", 30, f"igbvf has {address}")
    return address
