"""SR-IOV: virtual functions on request, kept from the host's drivers, and the physical function as it was afterwards."""

import subprocess
import sys

import holder
from client import CallError, bind, devices, error_of, restore, self_test, vfioctl
from harness import cleanup, expect, expect_equal, test
from machine import EDU, IGB, differences, driver, first_virtual_function, run, snapshot, snapshot_all, write
from test_passthrough import check_reports


def functions():
    return [address for address in devices() if address.startswith("0000:01:") and address != IGB]


def give_back():
    """All that a test left, the virtual functions before their device."""
    for address in functions() + [IGB]:
        try:
            restore(address)
        except CallError as error:
            # Restored by the test already.
            if error.name != "io.vfiod.WrongState":
                raise


def codes(error):
    return [blocker["code"] for blocker in error.parameters["blockers"]]


@test(deadline=300)
def seven():
    """All that igb has: none is taken by the host's driver, one goes through all its interrupts, and all go again."""
    before = snapshot_all()
    cleanup(give_back)
    told = vfioctl("virtual-functions", IGB, "7")
    expect_equal(told.stdout, f"{IGB} has 7 virtual functions.\n", "what vfioctl says")
    expect("making 7 virtual functions" in told.stderr, f"progress: {told.stderr!r}")
    found = functions()
    expect_equal(len(found), 7, "virtual functions that are listed")
    # udev loads igbvf for them, which must not take them.
    run("modprobe", "igbvf")
    run("udevadm", "settle", timeout=120)
    expect_equal({driver(address) for address in found}, {None}, "their drivers")
    expect_equal(driver(IGB), "igb", "driver of the physical function")
    one = found[3]
    bind(one)
    error = error_of("Restore", device=IGB)
    expect_equal((error.name, codes(error)), ("io.vfiod.Refused", ["virtual-function-bound"]), "Restore below one in use")
    expect_equal(error.parameters["blockers"][0]["member"], one, "the one that is named")
    reports, passed = self_test(one)
    check_reports(reports, {("msix", "loopback"): 3}, 10)
    expect(passed, "the self-test did not pass")
    restore(one)
    restore(IGB)
    expect_equal(differences(before, snapshot_all()), [], "state after Restore")


@test(deadline=120)
def earlier_ones_come_back():
    """What the host had comes back with its driver."""
    address = first_virtual_function()
    before = snapshot_all()
    cleanup(give_back)
    vfioctl("virtual-functions", IGB, "3")
    expect_equal([driver(function) for function in functions()], [None] * 3, "drivers of the three")
    restore(IGB)
    expect_equal(driver(address), "igbvf", "driver of the one that the host had")
    expect_equal(differences(before, snapshot_all()), [], "state after Restore")


@test()
def refusals():
    before = snapshot(IGB)
    cleanup(give_back)
    error = error_of("SetVirtualFunctions", device=EDU, count=1)
    expect_equal((error.name, codes(error)), ("io.vfiod.Refused", ["no-sr-iov"]), "edu")
    error = error_of("SetVirtualFunctions", device=IGB, count=8)
    expect_equal((error.name, codes(error)), ("io.vfiod.Refused", ["too-many-virtual-functions"]), "eight")
    for count in (-1, 65536):
        error = error_of("SetVirtualFunctions", device=IGB, count=count)
        expect_equal(error.name, "org.varlink.service.InvalidParameter", f"{count}")
    shown = vfioctl("virtual-functions", IGB, "2", "--dry-run").stdout
    expect("sriov_numvfs" in shown and "Nothing stands against it." in shown, f"dry run: {shown!r}")
    expect_equal(snapshot(IGB), before, "state after refusals and a dry run")
    bind(IGB)
    error = error_of("SetVirtualFunctions", device=IGB, count=1)
    expect_equal((error.name, codes(error)), ("io.vfiod.Refused", ["vfio-sr-iov-off"]), "a bound device")
    expect("enable_sriov: N" in error.parameters["blockers"][0]["evidence"], "the parameter is the evidence")
    restore(IGB)
    expect_equal(snapshot(IGB), before, "state after Restore")


def allow_vfio(allowed):
    write("/sys/module/vfio_pci/parameters/enable_sriov", "Y" if allowed else "N")


@test(deadline=300)
def of_a_bound_device():
    """vfio-pci makes them: the kernel opens them with vfiod's token, and to nobody else."""
    before = snapshot_all()
    allow_vfio(True)
    cleanup(lambda: allow_vfio(False))
    cleanup(give_back)
    bind(IGB)
    told = vfioctl("virtual-functions", IGB, "2")
    expect("making 2 virtual functions" in told.stderr, f"progress: {told.stderr!r}")
    expect_equal(driver(IGB), "vfio-pci", "driver of the physical function")
    found = functions()
    # vfio-pci takes what it has made, and it is there to be bound all the same.
    expect_equal([driver(function) for function in found], ["vfio-pci"] * 2, "drivers of the two")
    one = found[1]
    expect_equal(devices()[one]["state"], "available", "state of one of them")
    bind(one)
    error = error_of("SetVirtualFunctions", device=IGB, count=3)
    expect_equal((error.name, codes(error)), ("io.vfiod.Refused", ["virtual-function-bound"]), "below one that is bound")
    told = open_without_token(one)
    expect(told.startswith("PermissionError"), f"an open without the token: {told}")
    for address in (one, IGB, one):
        reports, passed = self_test(address)
        expect(passed, f"the self-test of {address} did not pass: {reports}")
    # The next vfiod knows the token too.
    run("systemctl", "restart", "vfiod.service", timeout=120)
    expect(self_test(one)[1], "the self-test after a restart did not pass")
    error = error_of("Restore", device=IGB)
    expect_equal((error.name, codes(error)), ("io.vfiod.Refused", ["virtual-function-bound"]), "Restore below one in use")
    restore(one)
    restore(IGB)
    expect_equal(driver(IGB), "igb", "driver of the physical function")
    expect_equal(differences(before, snapshot_all()), [], "state after Restore")


def open_without_token(address):
    """What becomes of a process that opens a device of VFIO as if there were no tokens."""
    command = (sys.executable, "-B", holder.__file__, address)
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]
