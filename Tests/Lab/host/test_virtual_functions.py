"""SR-IOV: virtual functions on request, kept from the host's drivers, and the physical function as it was afterwards."""

from client import CallError, bind, devices, error_of, restore, self_test, vfioctl
from harness import cleanup, expect, expect_equal, test
from machine import EDU, IGB, differences, driver, first_virtual_function, run, snapshot, snapshot_all
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
    expect_equal((error.name, error.parameters["state"]), ("io.vfiod.WrongState", "bound"), "a bound device")
    restore(IGB)
    expect_equal(snapshot(IGB), before, "state after Restore")
