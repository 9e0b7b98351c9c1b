"""The host's devices: what QEMU shows it, where, and what each is good for.

To add a device: add it here at a free address, then to the table in README.md. Tests name devices by these addresses.
"""

import re
from dataclasses import dataclass, field

# What the nvme namespace holds, so that a host test can tell that it reads again: 512-byte blocks that name themselves.
NVME_BLOCKS = 16384

# The disk that tests may do anything to.
SPARE_BYTES = 32 << 20


@dataclass(frozen=True)
class Device:
    name: str
    address: str
    options: tuple
    purpose: str
    backends: tuple = field(default=())


def _slot(number, device):
    return f"{device},bus=pcie.0,addr={number}"


def _cable(name):
    """A port of the hub that joins network cards."""
    return ("-netdev", f"hubport,id={name},hubid=1")


DEVICES = (
    Device("edu", "0000:00:10.0", (_slot("10.0", "edu"),), "raises its own interrupt on demand: INTx and MSI"),
    # On the same line of the host as edu and the sibling below: q35 gives slots 12 and 16 the same.
    Device("edu2", "0000:00:0c.0", (_slot("c.0", "edu"),), "shares edu's interrupt line in host and guest"),
    Device(
        "e1000e",
        "0000:00:11.0",
        (_slot("11.0", "e1000e,netdev=e1000e,romfile="),),
        "INTx, MSI and five MSI-X vectors; the host's own network until it is bound",
        _cable("e1000e"),
    ),
    Device(
        "peer",
        "0000:00:06.0",
        (_slot("6.0", "virtio-net-pci,netdev=peer,romfile="),),
        "the other end of the cable of e1000e and igb",
        _cable("peer"),
    ),
    Device(
        "nvme",
        "0000:00:12.0",
        (_slot("12.0", "nvme,drive=nvme,serial=lab,msix_qsize=2048,max_ioqpairs=2000"),),
        "2,048 MSI-X vectors, the largest table there is",
    ),
    Device(
        "spare",
        "0000:00:05.0",
        (_slot("5.0", "virtio-blk-pci,drive=spare,serial=spare"),),
        "a disk that is in no use: tests swap to it and put it into arrays",
    ),
    Device("virtio-rng", "0000:00:13.0", (_slot("13.0", "virtio-rng-pci"),), "a device whose driver is in use"),
    Device("xhci", "0000:00:16.0", (_slot("16.0", "nec-usb-xhci,msi=on,msix=off,intrs=16"),), "16 MSI vectors"),
    Device(
        "igb",
        "0000:01:00.0",
        (_slot("14.0", "pcie-root-port,id=port1,chassis=1,slot=1"), "igb,bus=port1,netdev=igb,romfile="),
        "SR-IOV: seven virtual functions of three MSI-X vectors, each an IOMMU group of its own",
        _cable("igb"),
    ),
    # A bridge joins what is behind it to one IOMMU group: two functions to give away and a sibling that is in use.
    Device(
        "bridge",
        "0000:02:00.0",
        (_slot("15.0", "pcie-root-port,id=port2,chassis=2,slot=2"), "pcie-pci-bridge,id=bridge,bus=port2"),
        "the PCIe-to-PCI bridge",
    ),
    Device("shared-edu1", "0000:03:01.0", ("edu,bus=bridge,addr=1.0",), "shares its IOMMU group"),
    Device("shared-edu2", "0000:03:02.0", ("edu,bus=bridge,addr=2.0",), "shares its IOMMU group"),
    Device(
        "sibling",
        "0000:03:03.0",
        ("e1000,bus=bridge,addr=3.0,netdev=net1,romfile=",),
        "the sibling in use: has its driver and an address",
        ("-netdev", "user,id=net1,restrict=on,net=10.0.3.0/24,host=10.0.3.2"),
    ),
)


def write_nvme(path):
    with open(path, "wb") as file:
        for number in range(NVME_BLOCKS):
            file.write(f"vfiod lab block {number:08d}\n".encode().ljust(512, b"."))


def write_spare(path):
    with open(path, "wb") as file:
        file.truncate(SPARE_BYTES)


def arguments(nvme, spare, moved=()):
    """QEMU's arguments for all of them. `moved`: {name: slot} of those that are elsewhere this time."""
    moved = dict(moved)
    result = []
    for name, path in (("nvme", nvme), ("spare", spare)):
        result += ["-drive", f"if=none,id={name},file={path},format=raw,snapshot=on,file.locking=off"]
    for device in DEVICES:
        result += device.backends
        for option in device.options:
            if device.name in moved:
                option = re.sub(r"addr=[0-9a-f.]+", f"addr={moved[device.name]}", option)
            result += ["-device", option]
    return result
