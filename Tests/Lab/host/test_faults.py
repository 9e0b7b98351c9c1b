"""Negative controls: a relay broken on purpose must be noticed, with the vectors named and the exit status non-zero."""

import json

from client import bind, restore, self_test, vfioctl
from harness import expect, expect_equal, test
from machine import E1000E, NVME

# A vector that lost two is not raised again, so with two raises every vector has its full count.
COUNT = 2


def faulty(fault, address=E1000E, vectors=4):
    """The MSI-X loopback report of a self-test with `fault`; the command line's verdict is checked on the way."""
    bind(address, **({"consent": ["network-address"]} if address == E1000E else {}))
    reports, passed = self_test(address, type="msix", vectors=vectors, count=COUNT, fault=fault)
    command = vfioctl(
        "selftest",
        address,
        "--type",
        "msix",
        "--vectors",
        str(vectors),
        "--count",
        str(COUNT),
        "--fault",
        fault,
        "--json",
        check=False,
    )
    restore(address)
    expect(not passed, f"{fault} was not noticed")
    expect(command.returncode != 0, f"vfioctl selftest --fault {fault} ended with 0")
    expect(json.loads(command.stdout), "vfioctl --json printed no report")
    return reports[("msix", "loopback")]


@test()
def swapped_routes():
    """Two vectors arrive, each as the other: as many lost on the one as are spurious on the other."""
    report = faulty("swap-routes")
    expect_equal(len(report["lostVectors"]), 2, "vectors that lost interrupts")
    expect_equal(sorted(report["spuriousVectors"]), sorted(report["lostVectors"]), "vectors that got the other's")
    expect_equal((report["lost"], report["spurious"]), (2 * COUNT, 2 * COUNT), "lost, spurious")


@test()
def dropped_irqfd():
    report = faulty("drop-irqfd")
    expect_equal(len(report["lostVectors"]), 1, "vectors that lost interrupts")
    expect_equal((report["lost"], report["spurious"]), (COUNT, 0), "lost, spurious")


@test()
def shared_vector():
    """Two of the device's vectors lead to one of the guest: one is lost, the other gets too many."""
    report = faulty("share-vector")
    expect_equal((len(report["lostVectors"]), len(report["spuriousVectors"])), (1, 1), "lost and spurious vectors")
    expect(report["lostVectors"] != report["spuriousVectors"], "the same vector is lost and spurious")
    expect_equal((report["lost"], report["spurious"]), (COUNT, COUNT), "lost, spurious")


@test(deadline=120)
def stopped_vcpu():
    report = faulty("stop-vcpu")
    expect_equal(report["delivered"], 0, "delivered to a guest that stands still")
    expect_equal(report["lost"], report["fired"], "lost")
    expect_equal(len(report["lostVectors"]), 4, "vectors named")


@test()
def no_fault_after_faults():
    """The same call without the fault passes: nothing of a broken run stays behind."""
    bind(NVME)
    self_test(NVME, type="msix", vectors=4, count=3, fault="drop-irqfd")
    reports, passed = self_test(NVME, type="msix", vectors=4, count=3)
    restore(NVME)
    expect(passed, f"after a faulty run: {reports}")
