"""vfiod's picture of the devices follows the kernel: what changes shows without a restart, and List opens no file."""

import os
import pathlib
import re
import subprocess

from client import bind, call, devices, error_of, restore, vfioctl
from harness import cleanup, expect, expect_equal, test, wait_until
from machine import (
    E1000E,
    EDU,
    IGB,
    NVME,
    PCI,
    ROOT_DISK,
    XHCI,
    driver,
    first_virtual_function,
    run,
    service_pid,
    write,
)

RESCAN = "/sys/bus/pci/rescan"
DRIVERS = pathlib.Path("/sys/bus/pci/drivers")
FILE_CALLS = "open,openat,openat2,readlink,readlinkat,stat,lstat,newfstatat,statx,getdents64,access,faccessat"


def details(address):
    return call("Describe", device=address)["details"]


def shows(address, **wanted):
    """Whether the device is listed so; a field that is absent is None."""
    device = devices().get(address)
    return device is not None and all(device.get(field) == value for field, value in wanted.items())


def rescan():
    write(RESCAN, "1")


@test()
def driver_changed_by_hand():
    pid = service_pid()
    name = driver(XHCI)
    expect(shows(XHCI, driver=name, state="available"), f"{XHCI} is not listed with {name}")
    write(DRIVERS / name / "unbind", XHCI)
    cleanup(lambda: driver(XHCI) or write(DRIVERS / name / "bind", XHCI))
    wait_until(lambda: shows(XHCI, driver=None), 10, f"{XHCI} is listed without driver")
    write(DRIVERS / name / "bind", XHCI)
    wait_until(lambda: shows(XHCI, driver=name), 10, f"{XHCI} is listed with {name} again")
    expect_equal(service_pid(), pid, "main process")


@test()
def taken_by_somebody_else():
    """vfio-pci by hand, as driverctl does: foreign, and available again."""
    override = PCI / EDU / "driver_override"
    write(override, "vfio-pci")
    cleanup(write, override, "\n")
    write("/sys/bus/pci/drivers_probe", EDU)
    cleanup(lambda: driver(EDU) and write(DRIVERS / "vfio-pci" / "unbind", EDU))
    wait_until(lambda: shows(EDU, driver="vfio-pci", state="foreign"), 10, f"{EDU} is listed as foreign")
    expect_equal(details(EDU)["driverOverride"], "vfio-pci", "driver_override")
    write(DRIVERS / "vfio-pci" / "unbind", EDU)
    wait_until(lambda: shows(EDU, driver=None, state="available"), 10, f"{EDU} is listed as available")


@test(deadline=120)
def virtual_functions():
    expect_equal(details(IGB)["virtualFunctions"], 0, "virtual functions")
    address = first_virtual_function()
    wait_until(lambda: shows(address, driver="igbvf", msix=3), 10, f"{address} is listed with its driver and vectors")
    found = details(IGB)
    expect_equal(
        (found["virtualFunctions"], found["totalVirtualFunctions"], found["virtualFunctionAddresses"]),
        (1, 7, [address]),
        "virtual functions",
    )
    expect_equal(details(address)["physicalFunction"], IGB, "physical function")
    write(PCI / IGB / "sriov_numvfs", "0")
    wait_until(lambda: address not in devices(), 10, f"{address} is listed no more")
    expect_equal(details(IGB)["virtualFunctions"], 0, "virtual functions")


@test()
def removed_and_found_again():
    group = devices()[EDU]["iommuGroup"]
    write(PCI / EDU / "remove", "1")
    cleanup(rescan)
    wait_until(lambda: EDU not in devices(), 10, f"{EDU} is listed no more")
    expect_equal(error_of("Describe", device=EDU).name, "io.vfiod.DeviceNotFound", "error")
    rescan()
    wait_until(lambda: shows(EDU, intx=1, msi=1, iommuGroup=group), 10, f"{EDU} is listed with its vectors again")


@test()
def removed_while_bound():
    """Shown as gone; its record is closed, which is said; back, it is a device like any other."""
    record = pathlib.Path(f"/var/lib/vfiod/{EDU}.json")
    bind(EDU)
    expect(record.exists(), f"no {record}")
    write(PCI / EDU / "remove", "1")
    cleanup(rescan)
    wait_until(lambda: shows(EDU, state="gone"), 10, f"{EDU} is listed as gone")
    wait_until(lambda: not record.exists(), 10, f"{record} is removed")
    journal = run("journalctl", "-u", "vfiod", "-n", "50", "-o", "cat").stdout
    expect(f"{EDU} was removed from the host while bound; its record is closed" in journal, journal)
    expect("gone" in vfioctl("show", EDU).stdout, "show does not say gone")
    expect_equal(error_of("Restore", device=EDU).parameters["state"], "gone", "state")
    rescan()
    wait_until(lambda: shows(EDU, state="available", driver=None), 10, f"{EDU} is listed as available")
    bind(EDU)
    expect(shows(EDU, state="bound", driver="vfio-pci"), f"{EDU} is not listed as bound")
    restore(EDU)
    expect(shows(EDU, state="available", driver=None), f"{EDU} is not listed as given back")


@test()
def details_of_devices():
    """What the kernel and the devices say of themselves."""
    igb = details(IGB)
    # QEMU's igb has no serial number; its e1000e makes one of the address of its interface.
    expect("serialNumber" not in igb, f"serial number of {IGB}: {igb.get('serialNumber')}")
    serial = details(E1000E).get("serialNumber")
    expect(re.fullmatch("([0-9a-f]{2}-){7}[0-9a-f]{2}", serial or ""), f"serial number of {E1000E}: {serial}")
    expect_equal((len(igb["path"]), igb["path"][-1]), (2, IGB), "path behind the root port")
    expect(igb["link"]["width"] >= 1, f"link: {igb['link']}")
    nvme = details(NVME)
    sizes = {region["index"]: region["size"] for region in nvme["regions"]}
    lines = (PCI / NVME / "resource").read_text().splitlines()
    first, last, _ = (int(number, 16) for number in lines[0].split())
    expect_equal(sizes[0], last - first + 1, "size of BAR 0")
    expect_equal(nvme["powerState"], (PCI / NVME / "power_state").read_text().strip(), "power state")
    expect(nvme["command"]["busMaster"], f"command: {nvme['command']}")
    expect("MSI-X" in [capability.get("name") for capability in nvme["capabilities"]], str(nvme["capabilities"]))
    kinds = [region["kind"] for region in nvme["reservedRegions"]]
    expect("msi" in kinds, f"reserved regions: {nvme['reservedRegions']}")
    uses = {address: {use["code"] for use in details(address)["hostUses"]} for address in (ROOT_DISK, E1000E)}
    expect("root-disk" in uses[ROOT_DISK] and "network-address" in uses[E1000E], str(uses))
    for address in devices():
        expect_equal(details(address)["unread"], [], f"{address}: what did not answer")


@test()
def list_opens_no_file():
    pid = service_pid()
    log = "/run/strace.list"
    strace = subprocess.Popen(
        ["strace", "-f", "-qq", "-e", f"trace={FILE_CALLS},accept4", "-o", log, "-p", str(pid)],
        stderr=subprocess.DEVNULL,
    )
    cleanup(strace.kill)
    threads = pathlib.Path(f"/proc/{pid}/task")

    def is_traced(thread):
        status = (threads / thread / "status").read_text()
        return f"TracerPid:\t{strace.pid}" in status

    wait_until(lambda: all(map(is_traced, os.listdir(threads))), 20, "strace has all threads")
    for _ in range(20):
        expect(devices(), "an empty list")
    strace.terminate()
    strace.wait(timeout=20)
    calls = re.findall(r"^\d+ +(\w+)\(", pathlib.Path(log).read_text(), re.MULTILINE)
    expect(calls.count("accept4") >= 20, f"strace saw {calls.count('accept4')} connections")
    opened = [name for name in calls if name != "accept4"]
    expect_equal(opened, [], "system calls about files")
