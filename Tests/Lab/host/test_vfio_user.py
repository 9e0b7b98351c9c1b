"""vfio-user: a process without any right drives a real device over the lease's socket, and what becomes of it."""

import json
import os
import pathlib
import time

import test_leases
from client import bind, call, restore, vfioctl
from harness import FOLDER, expect, expect_equal, test, wait_until
from machine import E1000E, EDU, descriptors, differences, run, service_pid, snapshot_all
from test_leases import OWNER, STEPS, STRANGER, Watcher, leased, memory_of, state, steps


class Owner(test_leases.Owner):
    """A function of user_client.py in a process of its own."""

    SOURCE = FOLDER / "user_client.py"


def attach(address):
    return test_leases.attach(address, mode="vfio-user")


def idle(address):
    wait_until(lambda: state(address) == "idle", 40, f"the session is over: {leased()[address]}")


@test(levels=("host", "kernel-6.1", "kernel-backports"), deadline=120)
def edu():
    """All that a guest does with a device: configuration, registers, memory both ways, MSI, INTx."""
    before = snapshot_all()
    bind(EDU)
    attach(EDU)
    memory = memory_of(2)
    since = time.time()
    owner = Owner("edu_whole", EDU, memory)
    told = json.loads(owner.line())
    expect_equal(owner.process.wait(30), 0, "status of the client")
    wanted = {
        "regions": 9,
        "irqs": [1, 1, 0],
        "config": 256,
        "bar": 1 << 20,
        "ids": [0x1234, 0x11E8],
        "inverted": 0x12345678 ^ 0xFFFFFFFF,
        "memory": "from the guest",
        "address": "0xfee01004",
        "control": 1,
        "msi": 20,
        "intx": 20,
        "quiet": 0,
        # edu has none, and a client that asks for one gets on.
        "reset": "done",
    }
    expect_equal(told, wanted, "what the client saw")
    idle(EDU)
    expect_equal([step for step, result, _ in steps(EDU, since) if result == "done"], STEPS, "steps")
    call("Detach", device=EDU)
    restore(EDU)
    expect_equal(differences(before, snapshot_all()), [], "state after Restore")


@test(levels=("host", "kernel-6.1", "kernel-backports"), deadline=120)
def e1000e():
    """Five MSI-X vectors, one after another, each on its own eventfd; one without its eventfd is masked."""
    before = snapshot_all()
    bind(E1000E, consent=["network-address"])
    attach(E1000E)
    for _ in range(2):
        owner = Owner("e1000e_vectors", E1000E)
        told = json.loads(owner.line())
        expect_equal(told["ids"], [0x8086, 0x10D3], "ids")
        expect_equal(told["masked"], 0, "interrupts of a vector without an eventfd")
        for index, counts in enumerate(told["counts"]):
            # The device's model repeats what its client took long to take away.
            own = counts.pop(index)
            expect(own in (1, 2), f"vector {index} fired {own} times")
            expect_equal(counts, [0] * 4, f"the others, while vector {index} was raised")
        idle(E1000E)
    call("Detach", device=E1000E)
    restore(E1000E)
    expect_equal(differences(before, snapshot_all()), [], "state after Restore")


@test(levels=("host", "kernel-backports"), deadline=180)
def killed():
    """SIGKILL while the device writes memory and fires: the steps in order, and nothing more after the first."""
    bind(EDU)
    attach(EDU)
    memory = memory_of(2)
    open_before = descriptors(service_pid())
    for _ in range(2):
        since = time.time()
        owner = Owner("run_for_ever", EDU, memory)
        expect(int(owner.line().split()[1]) > 0, "no interrupt reached the client")
        device = leased()[EDU]
        expect_equal((device["state"], device["session"]["processId"]), ("in-use", owner.process.pid), "lease in use")
        watcher = Watcher(memory)
        time.sleep(0.5)
        expect(len(watcher.changes) > 1, "the device writes no memory")
        owner.kill()
        idle(EDU)
        time.sleep(1)
        watcher.stop()
        wait_until(lambda: len(steps(EDU, since)) >= len(STEPS), 10, "the steps are in the journal")
        found = steps(EDU, since)
        expect_equal([(step, result) for step, result, _ in found], [(step, "done") for step in STEPS], "steps")
        late = [change - found[0][2] for change in watcher.changes if change > found[0][2] + 0.05]
        expect_equal(late, [], "seconds after the first step at which memory changed")
    wait_until(lambda: descriptors(service_pid()) <= open_before, 10, "vfiod's descriptors are as before")
    expect_equal(Owner("once", EDU).line(), "fired", "the next session's interrupt")
    idle(EDU)
    call("Detach", device=EDU)
    restore(EDU)


@test(deadline=120)
def hostile():
    """What a client must not do is refused, changes nothing, and costs nobody else anything."""
    bind(EDU)
    attach(EDU)
    owner = Owner("hostile", EDU, memory_of(2))
    told = json.loads(owner.line())
    wanted = {
        "map a pipe": "EINVAL",
        "map a program": "EINVAL",
        "map more than there is": "EINVAL",
        "map the interrupt controllers": "EINVAL",
        "map half a page": "EINVAL",
        "map the last page": "EINVAL",
        "map twice": "EEXIST",
        "unmap a half": "EINVAL",
        "unmap nothing": "ENOENT",
        "unmap": "done",
        "an eventfd that is a pipe": "EINVAL",
        "two vectors of one": "EINVAL",
        "vectors that it has not": "EINVAL",
        "mask a message": "ENOTTY",
        "beyond a region": "EINVAL",
        "a region that it has not": "EINVAL",
        "a command that is none": "EINVAL",
        "a version again": "EINVAL",
        "no message": "closed",
    }
    expect_equal(told, wanted, "answers")
    idle(EDU)
    expect_equal(Owner("second", EDU).line(), "disconnected", "what a second client is told")
    idle(EDU)
    stranger = Owner("once", EDU, user=STRANGER)
    expect_equal(stranger.process.wait(30), 1, "status of another user's client")
    expect("PermissionError" in stranger.process.stderr.read(), "what another user is told")
    expect_equal(Owner("once", EDU).line(), "fired", "the next session's interrupt")
    idle(EDU)
    call("Detach", device=EDU)
    restore(EDU)


@test(deadline=120)
def arguments():
    """What vfioctl prints is for QEMU to take; the lease outlives vfiod, and its socket is the owner's alone."""
    bind(EDU)
    printed = vfioctl("attach", EDU, "--uid", str(OWNER), "--qemu", "512M").stdout.split()
    test_leases.cleanup(test_leases.detach_if_attached, EDU)
    path = f"/run/vfiod/leases/{EDU}"
    expect_equal(printed[:2], ["-object", "memory-backend-memfd,id=vfiod-memory,size=512M,share=on"], "memory")
    expect_equal(printed[2:4], ["-machine", "memory-backend=vfiod-memory"], "machine")
    expect_equal(printed[4], "-device", "the device")
    wanted = {"driver": "vfio-user-pci", "x-msg-timeout": 60000, "socket": {"type": "unix", "path": path}}
    expect_equal(json.loads(printed[5]), wanted, "the device")
    status = pathlib.Path(path).stat()
    expect_equal((status.st_uid, status.st_mode & 0o777), (OWNER, 0o600), "owner and mode of the socket")
    expect("vfio-user" in vfioctl("leases").stdout, "vfioctl leases names no mode")
    expect_equal(run("systemctl", "restart", "vfiod").returncode, 0, "status of the restart")
    expect_equal(os.path.exists(path), True, "the socket after the restart")
    expect_equal(Owner("once", EDU).line(), "fired", "a session's interrupt after the restart")
    idle(EDU)
    call("Detach", device=EDU)
    restore(EDU)
