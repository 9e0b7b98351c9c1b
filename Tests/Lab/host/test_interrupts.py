"""What Interrupts says of a device."""

from client import bind, call, error_of, restore
from harness import expect_equal, test
from machine import E1000E, NVME


def groups(address):
    return {group["type"]: group for group in call("Interrupts", device=address)["groups"]}


@test()
def of_a_bound_device():
    bind(E1000E, consent=["network-address"])
    found = groups(E1000E)
    restore(E1000E)
    expect_equal({kind: group["count"] for kind, group in found.items()}, {"intx": 1, "msi": 1, "msix": 5}, "counts")
    for kind, group in found.items():
        expect_equal(
            [vector["wired"] for vector in group["vectors"]].count(True), 0, f"{kind}: wired vectors while idle"
        )


@test()
def of_a_large_table():
    bind(NVME)
    found = groups(NVME)
    restore(NVME)
    expect_equal(found["msix"]["count"], 2048, "count")


@test()
def of_no_device():
    expect_equal(error_of("Interrupts", device="0000:7f:00.0").name, "io.vfiod.DeviceNotFound", "error")
