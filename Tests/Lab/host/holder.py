"""A process that holds a device through VFIO, as a VMM would, without vfiod."""

import ctypes
import fcntl
import os
import struct
import subprocess
import sys

VFIO_SET_IOMMU = 0x3B66
VFIO_GROUP_SET_CONTAINER = 0x3B68
VFIO_GROUP_GET_DEVICE_FD = 0x3B6A
VFIO_TYPE1V2_IOMMU = 3


def hold(address):
    """Opens the device in this process; returns its descriptors."""
    container = os.open("/dev/vfio/vfio", os.O_RDWR)
    group_number = os.path.basename(os.readlink(f"/sys/bus/pci/devices/{address}/iommu_group"))
    group = os.open(f"/dev/vfio/{group_number}", os.O_RDWR)
    fcntl.ioctl(group, VFIO_GROUP_SET_CONTAINER, struct.pack("i", container))
    fcntl.ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1V2_IOMMU)
    name = ctypes.create_string_buffer(address.encode())
    device = fcntl.ioctl(group, VFIO_GROUP_GET_DEVICE_FD, name)
    return container, group, device


class Holder:
    """The device in the hands of another process, until `release`."""

    def __init__(self, address):
        self.process = subprocess.Popen(
            [sys.executable, "-B", __file__, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        line = self.process.stdout.readline().strip()
        if line != "holding":
            self.release()
            raise RuntimeError(f"cannot hold {address}: {line}")

    def release(self):
        if self.process.stdin and not self.process.stdin.closed:
            self.process.stdin.close()
        self.process.wait(30)


if __name__ == "__main__":
    descriptors = hold(sys.argv[1])
    print("holding", flush=True)
    sys.stdin.read()
