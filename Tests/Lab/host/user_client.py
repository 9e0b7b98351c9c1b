"""A VMM that drives a device by vfio-user, in a process of its own without any right: the client's side of the protocol, and
edu and e1000e through it.

It is run as `python3 -c` by an unprivileged user, so it needs nothing of the other files.
"""

import errno
import json
import os
import select
import socket
import struct
import sys

VERSION, DMA_MAP, DMA_UNMAP, GET_INFO, GET_REGION_INFO, GET_IRQ_INFO, SET_IRQS = 1, 2, 3, 4, 5, 7, 8
REGION_READ, REGION_WRITE, RESET = 9, 10, 13
INTX, MSI, MSIX = 0, 1, 2
# VFIO_IRQ_SET_*.
WIRE, FIRE, MASK, UNMASK, UNMASK_BY = 0x24, 0x21, 0x09, 0x11, 0x14
CONFIG = 7
PAGE = 4096


class Refused(Exception):
    def __init__(self, command, number):
        super().__init__(f"command {command}: {errno.errorcode[number]}")
        self.name = errno.errorcode[number]


class Client:
    """As QEMU begins: a version with its limits, then what the device has."""

    def __init__(self, device):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        self.socket.connect(f"/run/vfiod/leases/{device}")
        self.last = 0
        limits = {"max_msg_fds": 16, "max_data_xfer_size": 1 << 20, "pgsizes": PAGE, "max_dma_maps": 65535}
        text = json.dumps({"capabilities": {**limits, "migration": {"pgsize": PAGE}, "write_multiple": True}})
        answer = self.ask(VERSION, struct.pack("<HH", 0, 0) + text.encode() + b"\0")
        assert struct.unpack("<HH", answer[:4]) == (0, 0) and answer.endswith(b"\0")
        self.limits = json.loads(answer[4:-1])["capabilities"]
        _, self.flags, self.regions, self.irqs = struct.unpack("<4I", self.ask(GET_INFO, struct.pack("<4I", 16, 0, 0, 0)))

    def ask(self, command, payload=b"", descriptors=(), wants_no_reply=False):
        self.last = (self.last + 1) & 0xFFFF
        size = 16 + len(payload)
        header = struct.pack("<HHIII", self.last, command, size, 0x10 if wants_no_reply else 0, 0)
        socket.send_fds(self.socket, [header + payload], list(descriptors))
        if wants_no_reply:
            return None
        number, answered, size, flags, error = struct.unpack("<HHIII", self.take(16))
        assert (number, answered, flags & 0xF) == (self.last, command, 1), "an answer to something else"
        payload = self.take(size - 16)
        if flags & 0x20:
            raise Refused(command, error)
        return payload

    def take(self, size):
        taken = b""
        while len(taken) < size:
            data = self.socket.recv(size - len(taken))
            if not data:
                raise ConnectionError("closed")
            taken += data
        return taken

    def region(self, index):
        answer = self.ask(GET_REGION_INFO, struct.pack("<IIIIQQ", 32, 0, index, 0, 0, 0))
        _, flags, _, _, size, _ = struct.unpack("<IIIIQQ", answer)
        return size, flags

    def irq(self, index):
        return struct.unpack("<4I", self.ask(GET_IRQ_INFO, struct.pack("<4I", 16, 0, index, 0)))[3]

    def read(self, region, offset, count):
        place = struct.pack("<QII", offset, region, count)
        answer = self.ask(REGION_READ, place)
        assert answer[:16] == place
        return answer[16:]

    def write(self, region, offset, data, posted=False):
        self.ask(REGION_WRITE, struct.pack("<QII", offset, region, len(data)) + data, wants_no_reply=posted)

    def map(self, memory, address, size, offset=0, writable=True):
        payload = struct.pack("<IIQQQ", 32, 3 if writable else 1, offset, address, size)
        self.ask(DMA_MAP, payload, [] if memory is None else [memory])

    def unmap(self, address, size, everything=False):
        self.ask(DMA_UNMAP, struct.pack("<IIQQ", 24, 2 if everything else 0, address, size))

    def set(self, flags, index, start, count, eventfds=()):
        self.ask(SET_IRQS, struct.pack("<5I", 20, flags, index, start, count), eventfds)

    def command(self, bits):
        now = struct.unpack("<H", self.read(CONFIG, 4, 2))[0]
        self.write(CONFIG, 4, struct.pack("<H", now | bits))

    def capability(self, wanted):
        """Where a capability begins."""
        place = self.read(CONFIG, 0x34, 1)[0]
        while place:
            found, following = self.read(CONFIG, place, 2)
            if found == wanted:
                return place
            place = following
        raise LookupError(f"no capability {wanted}")


class Eventfd:
    def __init__(self):
        self.descriptor = os.eventfd(0, os.EFD_NONBLOCK)

    def fired(self, seconds=10):
        """How often, once it has."""
        if not select.select([self.descriptor], [], [], seconds)[0]:
            return 0
        return os.eventfd_read(self.descriptor)


class Edu:
    """QEMU's edu (docs/specs/edu.rst)."""

    RAISE, ACKNOWLEDGE, PENDING = 0x60, 0x64, 0x24
    DMA_FROM, DMA_TO, DMA_COUNT, DMA_COMMAND, BUFFER = 0x80, 0x88, 0x90, 0x98, 0x40000
    START, TO_MEMORY = 1, 2

    def __init__(self, client):
        self.client = client
        client.command(6)

    def load(self, register):
        return struct.unpack("<I", self.client.read(0, register, 4))[0]

    def store(self, register, value, form="<I"):
        self.client.write(0, register, struct.pack(form, value), posted=True)

    def dma(self, source, target, command, count=8):
        for register, value in ((self.DMA_FROM, source), (self.DMA_TO, target), (self.DMA_COUNT, count)):
            self.store(register, value, "<Q")
        self.store(self.DMA_COMMAND, self.START | command, "<Q")
        while self.load(self.DMA_COMMAND) & self.START:
            pass


def say(text):
    print(text, flush=True)


def edu_whole(device, memory):
    """Everything that a guest does with edu: configuration, registers, memory both ways, MSI and INTx, a reset."""
    client = Client(device)
    said = {"regions": client.regions, "irqs": [client.irq(INTX), client.irq(MSI), client.irq(MSIX)]}
    said["config"], said["bar"] = client.region(CONFIG)[0], client.region(0)[0]
    whole = client.read(CONFIG, 0, said["config"])
    said["ids"] = struct.unpack("<HH", whole[:4])
    edu = Edu(client)
    edu.store(0x04, 0x12345678)
    said["inverted"] = edu.load(0x04)
    client.map(memory, 0x100000, 2 * PAGE)
    # A ROM, without a descriptor: taken, and out of reach.
    client.map(None, 0xC0000, PAGE, writable=False)
    os.pwrite(memory, b"from the guest", PAGE)
    edu.dma(0x100000 + PAGE, edu.BUFFER, 0, 14)
    edu.dma(edu.BUFFER, 0x100000, edu.TO_MEMORY, 14)
    said["memory"] = os.pread(memory, 14, 0).decode()
    # MSI, as a guest turns it on: what it writes reads back, and does not reach the device.
    msi = client.capability(5)
    client.write(CONFIG, msi + 4, struct.pack("<I", 0xFEE01004))
    client.write(CONFIG, msi + 2, struct.pack("<H", struct.unpack("<H", client.read(CONFIG, msi + 2, 2))[0] | 1))
    said["address"] = hex(struct.unpack("<I", client.read(CONFIG, msi + 4, 4))[0])
    said["control"] = client.read(CONFIG, msi + 2, 1)[0] & 1
    fires = Eventfd()
    client.set(WIRE, MSI, 0, 1, [fires.descriptor])
    said["msi"] = 0
    for _ in range(20):
        edu.store(edu.RAISE, 1)
        said["msi"] += fires.fired()
        edu.store(edu.ACKNOWLEDGE, 1)
    client.set(FIRE, MSI, 0, 0)
    # INTx, with the end of interrupt left to the kernel, as QEMU does.
    fires, rearms = Eventfd(), Eventfd()
    client.set(WIRE, INTX, 0, 1, [fires.descriptor])
    client.set(MASK, INTX, 0, 1)
    client.set(UNMASK_BY, INTX, 0, 1, [rearms.descriptor])
    client.set(UNMASK, INTX, 0, 1)
    said["intx"] = 0
    for _ in range(20):
        edu.store(edu.RAISE, 1)
        said["intx"] += fires.fired()
        edu.store(edu.ACKNOWLEDGE, 1)
        edu.load(edu.PENDING)
        os.eventfd_write(rearms.descriptor, 1)
    said["quiet"] = fires.fired(0.3)
    client.unmap(0, 0, everything=True)
    try:
        client.ask(RESET)
        said["reset"] = "done"
    except Refused as refused:
        said["reset"] = refused.name
    say(json.dumps(said))


def e1000e_vectors(device, _):
    """All five MSI-X vectors by the device's own cause-set register, each once, on its own eventfd."""
    client = Client(device)
    client.command(6)
    eventfds = [Eventfd() for _ in range(5)]
    # As Linux begins: on, without any; then one after another.
    client.set(WIRE, MSIX, 0, 1)
    for index, eventfd in enumerate(eventfds):
        client.set(WIRE, MSIX, index, 1, [eventfd.descriptor])

    def store(register, value):
        client.write(0, register, struct.pack("<I", value))

    counts = []
    for index in range(5):
        store(0x00, 1 << 26)  # CTRL.RST
        store(0xD8, 0xFFFFFFFF)  # IMC
        store(0xE4, sum((vector | 8) << (4 * vector) for vector in range(5)))  # IVAR
        store(0xE8 + 4 * index, 0xFFFF)  # EITR
        store(0xD0, 1 << (20 + index))  # IMS
        store(0xC8, 1 << (20 + index))  # ICS
        own = eventfds[index].fired()
        # Ends the throttle interval, at whose end the device's model repeats the message; a read is behind the write.
        store(0x00, 1 << 26)
        client.read(0, 0x08, 4)
        more = [eventfd.fired(0.05) for eventfd in eventfds]
        counts.append([count + (own if number == index else 0) for number, count in enumerate(more)])
    # Without its eventfd a vector is masked; it is loopback that raises it, and nothing comes.
    client.set(WIRE, MSIX, 3, 1)
    client.set(FIRE, MSIX, 3, 1)
    masked = eventfds[3].fired(0.3)
    client.set(FIRE, MSIX, 0, 0)
    client.ask(RESET)
    say(json.dumps({"counts": counts, "masked": masked, "ids": struct.unpack("<HH", client.read(CONFIG, 0, 4))}))


def run_for_ever(device, memory):
    """Makes edu raise interrupts and write a number that grows into memory, as fast as it can."""
    client = Client(device)
    edu = Edu(client)
    client.map(memory, 0x100000, 2 * PAGE)
    fires, rearms = Eventfd(), Eventfd()
    client.set(WIRE, INTX, 0, 1, [fires.descriptor])
    client.set(UNMASK_BY, INTX, 0, 1, [rearms.descriptor])
    number = served = 0
    while True:
        number += 1
        os.pwrite(memory, struct.pack("<Q", number), PAGE)
        edu.dma(0x100000 + PAGE, edu.BUFFER, 0)
        edu.dma(edu.BUFFER, 0x100000, edu.TO_MEMORY)
        edu.store(edu.RAISE, 1)
        if fires.fired(5):
            edu.store(edu.ACKNOWLEDGE, edu.load(edu.PENDING))
            os.eventfd_write(rearms.descriptor, 1)
            served += 1
        if number == 3:
            say(f"running {served}")


def hostile(device, memory):
    """What cannot be is refused, and the session goes on. Prints what each was answered."""
    client = Client(device)
    reading, _ = os.pipe()
    told = {}

    def attempt(name, body):
        try:
            body()
            told[name] = "done"
        except Refused as refused:
            told[name] = refused.name

    attempt("map a pipe", lambda: client.map(reading, 0x100000, PAGE))
    attempt("map a program", lambda: client.map(os.open("/proc/self/exe", os.O_RDONLY), 0x100000, PAGE))
    attempt("map more than there is", lambda: client.map(memory, 0x100000, 1 << 20))
    attempt("map the interrupt controllers", lambda: client.map(memory, 0xFEE00000, PAGE))
    attempt("map half a page", lambda: client.map(memory, 0x100000, 100))
    attempt("map the last page", lambda: client.map(memory, 0xFFFFFFFFFFFFF000, 2 * PAGE))
    client.map(memory, 0x100000, 2 * PAGE)
    attempt("map twice", lambda: client.map(memory, 0x101000, PAGE))
    attempt("unmap a half", lambda: client.unmap(0x100000, PAGE))
    attempt("unmap nothing", lambda: client.unmap(0x200000, PAGE))
    attempt("unmap", lambda: client.unmap(0x100000, 2 * PAGE))
    attempt("an eventfd that is a pipe", lambda: client.set(WIRE, MSI, 0, 1, [reading]))
    attempt("two vectors of one", lambda: client.set(WIRE, MSI, 0, 2, [reading, reading]))
    attempt("vectors that it has not", lambda: client.set(WIRE, MSIX, 0, 1))
    attempt("mask a message", lambda: client.set(MASK, MSI, 0, 1))
    attempt("beyond a region", lambda: client.read(CONFIG, 1 << 40, 4))
    attempt("a region that it has not", lambda: client.read(5, 0, 4))
    attempt("a command that is none", lambda: client.ask(99))
    attempt("a version again", lambda: client.ask(VERSION, struct.pack("<HH", 0, 0)))
    assert struct.unpack("<HH", client.read(CONFIG, 0, 4)) == (0x1234, 0x11E8)
    # And then what is no message at all.
    client.socket.sendall(struct.pack("<HHIII", 1, REGION_WRITE, 0xFFFFFFFF, 0, 0))
    told["no message"] = "closed" if client.socket.recv(1) == b"" else "answered"
    say(json.dumps(told))


def once(device, _):
    """A session that begins and ends well, with one interrupt."""
    client = Client(device)
    edu = Edu(client)
    fires = Eventfd()
    client.set(WIRE, MSI, 0, 1, [fires.descriptor])
    edu.store(edu.RAISE, 1)
    say("fired" if fires.fired() else "nothing")


def second(device, _):
    """One session at a time: what a second connection is told, which is nothing."""
    first = Client(device)
    try:
        Client(device)
        say("answered")
    except ConnectionError:
        say("disconnected")
    first.read(CONFIG, 0, 4)


if __name__ == "__main__":
    name, address, memory_number = sys.argv[1:4]
    globals()[name](address, int(memory_number))
