"""The main job, device by device: Bind, every interrupt of every type into a guest, Restore, everything as before."""

from client import bind, devices, restore, self_test
from harness import expect, expect_equal, test
from machine import (
    E1000E,
    EDU,
    NVME,
    VECTORS,
    XHCI,
    differences,
    driver,
    first_virtual_function,
    ping,
    run,
    snapshot_all,
)


def check_reports(reports, wanted, count):
    """`wanted`: {(type, raised by): vectors}. Every vector was tested, and every raise arrived where it belongs."""
    expect_equal(set(reports), set(wanted), "types and how they were raised")
    for key, vectors in wanted.items():
        report = reports[key]
        what = "/".join(key)
        expect_equal((report["vectors"], report["tested"]), (vectors, vectors), f"{what}: vectors, tested")
        expect_equal(report["fired"], vectors * count, f"{what}: fired")
        expect_equal(report["delivered"], report["fired"], f"{what}: delivered")
        expect_equal((report["lost"], report["spurious"]), (0, 0), f"{what}: lost, spurious")
        expect_equal((report["lostVectors"], report["spuriousVectors"]), ([], []), f"{what}: vectors named")
        expect(0 < report["latencyP50"] <= report["latencyP99"] <= report["latencyMax"], f"{what}: latencies {report}")


def pass_through(address, wanted, count=10, **bind_parameters):
    """Returns nothing: the device is as it was, and so is every other."""
    before = snapshot_all()
    bind(address, **bind_parameters)
    expect_equal(driver(address), "vfio-pci", "driver after Bind")
    expect_equal(devices()[address]["state"], "bound", "state after Bind")
    reports, passed = self_test(address, count=count)
    check_reports(reports, wanted, count)
    expect(passed, "the self-test counted everything and did not pass")
    restore(address)
    expect_equal(differences(before, snapshot_all()), [], "state after Restore")


@test()
def edu():
    pass_through(
        EDU, {("intx", "loopback"): 1, ("intx", "device"): 1, ("msi", "loopback"): 1, ("msi", "device"): 1}, 100
    )


@test(levels=("host", "kernel-6.1", "kernel-backports"), deadline=120)
def e1000e():
    expect(ping(), "no ping before Bind")
    pass_through(
        E1000E,
        {("intx", "loopback"): 1, ("msi", "loopback"): 1, ("msix", "loopback"): 5, ("msix", "device"): 5},
        consent=["network-address"],
    )
    expect(ping(), "no ping after Restore")


@test(levels=("host", "kernel-6.1", "kernel-backports"), deadline=300)
def nvme():
    pass_through(NVME, {("intx", "loopback"): 1, ("msix", "loopback"): 2048}, 2)
    run("udevadm", "settle")
    for block in (0, 1, 16383):
        with open("/dev/nvme0n1", "rb") as namespace:
            namespace.seek(block * 512)
            expect_equal(namespace.read(512)[:25], b"vfiod lab block %08d\n" % block, f"block {block} of the namespace")


@test()
def xhci():
    pass_through(XHCI, {("intx", "loopback"): 1, ("msi", "loopback"): 16})


@test(deadline=120)
def igb_vf():
    address = first_virtual_function()
    pass_through(address, {("msix", "loopback"): 3})


@test()
def vector_counts():
    for address, counts in VECTORS.items():
        parameters = {"consent": ["network-address"]} if address == E1000E else {}
        bind(address, **parameters)
        device = devices()[address]
        restore(address)
        expect_equal((device["intx"], device["msi"], device["msix"]), counts, f"{address}: INTx, MSI, MSI-X")


@test()
def one_type_and_few_vectors():
    """--type and --vectors narrow the test to what was asked for."""
    bind(NVME)
    reports, passed = self_test(NVME, type="msix", vectors=3, count=5)
    restore(NVME)
    expect_equal(set(reports), {("msix", "loopback")}, "reports")
    report = reports[("msix", "loopback")]
    expect_equal(
        (report["vectors"], report["tested"], report["fired"], report["delivered"], passed),
        (2048, 3, 15, 15, True),
        "vectors, tested, fired, delivered, passed",
    )


@test(deadline=300)
def large_table_in_windows():
    """2,048 vectors are more than this host's processors have room for: the test walks them, and says so."""
    bind(NVME)
    reports, _ = self_test(NVME, type="msix", count=1)
    restore(NVME)
    notes = " ".join(reports[("msix", "loopback")]["notes"])
    expect("window" in notes, f"no word of windows in the notes: {notes!r}")
