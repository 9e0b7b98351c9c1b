"""The owner of a lease, in a process of its own without any right: a session of io.vfiod.lease, and edu through it.

Stands for a VMM. It is run as `python3 -c` by an unprivileged user, so it needs nothing of the other files.
"""

import json
import os
import select
import socket
import struct
import sys
import time


class Refused(Exception):
    def __init__(self, name, parameters):
        super().__init__(f"{name} {json.dumps(parameters)}")
        self.name, self.parameters = name, parameters


class Session:
    def __init__(self, device):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        self.socket.connect(f"/run/vfiod/leases/{device}")

    def call(self, method, descriptors=(), **parameters):
        """The reply's parameters and the descriptors that came with it."""
        message = json.dumps({"method": f"io.vfiod.lease.{method}", "parameters": parameters}).encode() + b"\0"
        socket.send_fds(self.socket, [message], list(descriptors))
        received, came = b"", []
        while not received.endswith(b"\0"):
            data, more, _, _ = socket.recv_fds(self.socket, 1 << 16, 253)
            came += more
            if not data:
                raise ConnectionError(f"closed during {method}")
            received += data
        reply = json.loads(received[:-1])
        if "error" in reply:
            raise Refused(reply["error"], reply.get("parameters") or {})
        return reply.get("parameters") or {}, came


class Edu:
    """QEMU's edu: an interrupt on demand, and a DMA engine with a buffer of its own (docs/specs/edu.rst)."""

    TARGET, SOURCE, PAGE = 0x100000, 0x101000, 4096
    RAISE, ACKNOWLEDGE, PENDING = 0x60, 0x64, 0x24
    DMA_FROM, DMA_TO, DMA_COUNT, DMA_COMMAND, BUFFER = 0x80, 0x88, 0x90, 0x98, 0x40000
    START, TO_MEMORY = 1, 2

    def __init__(self, session, memory=None):
        self.session = session
        device, _ = session.call("Describe")
        regions = {region["index"]: region for region in device["regions"]}
        self.bar, self.config = regions[0]["offset"], regions[7]["offset"]
        _, (self.descriptor,) = session.call("OpenDevice")
        if memory is not None:
            session.call("MapMemory", [memory], iova=self.TARGET, size=2 * self.PAGE, offset=0, writable=True)
        command = struct.unpack("<H", os.pread(self.descriptor, 2, self.config + 4))[0]
        os.pwrite(self.descriptor, struct.pack("<H", command | 6), self.config + 4)

    def read(self, register):
        return struct.unpack("<I", os.pread(self.descriptor, 4, self.bar + register))[0]

    def write(self, register, value, form="<I"):
        os.pwrite(self.descriptor, struct.pack(form, value), self.bar + register)

    def dma(self, source, target, command):
        for register, value in ((self.DMA_FROM, source), (self.DMA_TO, target), (self.DMA_COUNT, 8)):
            self.write(register, value, "<Q")
        self.write(self.DMA_COMMAND, self.START | command, "<Q")
        while self.read(self.DMA_COMMAND) & self.START:
            yield

    def interrupts(self, kind):
        """Turns them on; returns the eventfd that fires, and for INTx the one that re-arms it."""
        _, (fires,) = self.session.call("GetNotifiers", type=kind, first=0, count=1)
        rearms = self.session.call("GetResampleNotifier")[1][0] if kind == "intx" else None
        self.session.call("Enable", type=kind)
        return fires, rearms


def say(text):
    print(text, flush=True)


def run_for_ever(device, memory):
    """Makes the device raise interrupts and write a number that grows into memory, as fast as it can."""
    edu = Edu(Session(device), memory)
    fires, rearms = edu.interrupts("intx")
    number = served = 0
    while True:
        number += 1
        os.pwrite(memory, struct.pack("<Q", number), edu.PAGE)
        for source, target, command in ((edu.SOURCE, edu.BUFFER, 0), (edu.BUFFER, edu.TARGET, edu.TO_MEMORY)):
            for _ in edu.dma(source, target, command):
                edu.write(edu.RAISE, 1)
                if select.select([fires], [], [], 5)[0]:
                    os.read(fires, 8)
                    edu.write(edu.ACKNOWLEDGE, edu.read(edu.PENDING))
                    os.write(rearms, struct.pack("=Q", 1))
                    served += 1
        if number == 3:
            say(f"running {served}")


def keep_in_child(device, _):
    """Leaves a copy of the device's descriptor to a child, which outlives this process."""
    session = Session(device)
    edu = Edu(session)
    child = os.fork()
    if child == 0:
        # The connection is kept as well: it is the process that counts.
        while True:
            time.sleep(60)
    say(f"child {child}")
    edu.read(0)
    time.sleep(600)


def spoil_in_child(device, _):
    """Leaves the device's descriptor to a child, which makes the device a bus master again and again."""
    edu = Edu(Session(device))
    command = struct.unpack("<H", os.pread(edu.descriptor, 2, edu.config + 4))[0]
    child = os.fork()
    while child == 0:
        os.pwrite(edu.descriptor, struct.pack("<H", command | 4), edu.config + 4)
    say(f"child {child}")
    time.sleep(600)


def hostile(device, memory):
    """What cannot be is refused by name, and the session goes on. Prints what each was answered."""
    session = Session(device)
    session.call("Describe")
    reading, writing = os.pipe()
    mapping = {"iova": 0x100000, "size": 4096, "offset": 0, "writable": True}
    attempts = [
        ("MapMemory", [], mapping),
        ("MapMemory", [memory, memory], mapping),
        ("MapMemory", [reading], mapping),
        ("MapMemory", [os.open("/proc/self/exe", os.O_RDONLY)], mapping),
        ("MapMemory", [memory], {**mapping, "size": 1 << 20}),
        ("MapMemory", [memory], {**mapping, "iova": 0x100001}),
        ("MapMemory", [memory], {**mapping, "iova": 0xFEE00000}),
        ("UnmapMemory", [], {"iova": 0x100000, "size": 4096}),
        ("SetNotifiers", [writing], {"type": "intx", "first": 0, "count": 1}),
        ("SetNotifiers", [writing], {"type": "msix", "first": 0, "count": 2}),
        ("Enable", [], {"type": "msix"}),
        ("Trigger", [], {"type": "msi", "vector": 0}),
        ("Describe", [memory], {}),
    ]
    answers = []
    for method, descriptors, parameters in attempts:
        try:
            session.call(method, descriptors, **parameters)
            answers.append("done")
        except Refused as refused:
            answers.append(refused.name.rsplit(".", 1)[1] + ":" + str(refused.parameters.get("reason", "")))
    session.call("MapMemory", [memory], **mapping)
    session.call("UnmapMemory", iova=0x100000, size=4096)
    say(json.dumps(answers))


def second(device, _):
    """One session at a time: what a second connection is told."""
    first = Session(device)
    first.call("Describe")
    try:
        Session(device).call("Describe")
        say("done")
    except Refused as refused:
        say(refused.name)


def once(device, _):
    """A session that begins and ends well, with one interrupt."""
    edu = Edu(Session(device))
    fires, _ = edu.interrupts("msi")
    edu.write(edu.RAISE, 1)
    say("fired" if select.select([fires], [], [], 10)[0] else "nothing")


if __name__ == "__main__":
    name, address, memory_number = sys.argv[1:4]
    globals()[name](address, int(memory_number))
