"""Hosts that have less: no IOMMU, an IOMMU that does not remap interrupts."""

from client import bind, devices, error_of, restore, self_test
from harness import cleanup, expect, expect_equal, test
from machine import EDU, NVME, UNSAFE_INTERRUPTS, XHCI, differences, snapshot_all, write


@test(levels=("no-iommu",))
def lists_without_iommu():
    found = devices()
    expect(NVME in found, "no nvme")
    expect_equal(found[NVME].get("iommuGroup"), None, "IOMMU group")


@test(levels=("no-iommu",))
def bind_without_iommu():
    """Refused by name, and nothing changed."""
    before = snapshot_all()
    for address in (EDU, NVME):
        error = error_of("Bind", device=address)
        expect_equal(error.name, "io.vfiod.Refused", f"{address}: {error}")
        expect("IOMMU" in str(error), f"does not name the IOMMU: {error}")
    expect_equal(differences(before, snapshot_all()), [], "devices")


@test(levels=("no-intremap",))
def refused_without_interrupt_remapping():
    """VFIO refuses the container unless the administrator allows unsafe interrupts: said by name, with what to do."""
    before = snapshot_all()
    try:
        bind(XHCI)
        error = error_of("SelfTest", device=XHCI)
        restore(XHCI)
    except Exception as refused:  # Refused at Bind already is as good.
        error = refused
    expect("remap" in str(error).lower() or "unsafe" in str(error).lower(), f"no word of interrupt remapping: {error}")
    expect_equal(differences(before, snapshot_all()), [], "devices")


@test(levels=("no-intremap",), deadline=120)
def sixteen_vectors_become_one():
    """Without remapping the kernel gives a multi-vector MSI device one vector: said, not hidden."""
    write(UNSAFE_INTERRUPTS, "Y")
    cleanup(write, UNSAFE_INTERRUPTS, "N")
    bind(XHCI)
    reports, _ = self_test(XHCI, type="msi")
    restore(XHCI)
    report = reports[("msi", "loopback")]
    expect_equal((report["vectors"], report["tested"]), (16, 1), "vectors, tested")
    expect_equal((report["lost"], report["spurious"]), (0, 0), "lost, spurious")
    expect(report["notes"], "nothing is said about the other fifteen")
