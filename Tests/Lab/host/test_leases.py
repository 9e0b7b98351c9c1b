"""Leases: a device in the hands of a user without any right, and what becomes of it when that user's process dies."""

import json
import os
import pathlib
import re
import signal
import struct
import subprocess
import sys
import threading
import time

from client import bind, call, devices, error_of, restore, self_test, vfioctl
from harness import FOLDER, Failure, cleanup, expect, expect_equal, test, wait_until
from machine import (
    EDU,
    EDU2,
    SHARED_EDU,
    SHARED_EDU2,
    SIBLING,
    descriptors,
    differences,
    run,
    service_pid,
    snapshot_all,
)
from test_recovery import kill_vfiod

OWNER, STRANGER = 65534, 33
STEPS = ["bus-master-off", "disable-interrupts", "disable-intx", "unmap", "reset", "verify", "release"]


class Owner:
    """A function of lease_client.py in a process of its own, as `user`."""

    SOURCE = FOLDER / "lease_client.py"

    def __init__(self, function, device, memory=None, user=OWNER):
        source = self.SOURCE.read_text()
        self.process = subprocess.Popen(
            [sys.executable, "-c", source, function, device, str(memory if memory is not None else -1)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            user=user,
            group=user,
            extra_groups=[],
            pass_fds=[memory] if memory is not None else [],
        )
        cleanup(self.kill)

    def line(self):
        line = self.process.stdout.readline().strip()
        if not line:
            raise Failure(f"the owner ended with {self.process.wait(30)}: {self.process.stderr.read()[-500:]}")
        return line

    def kill(self):
        self.process.kill()
        self.process.wait(30)


def attach(address, uid=OWNER, **parameters):
    reply = call("Attach", device=address, uid=uid, **parameters)
    cleanup(detach_if_attached, address)
    return reply


def detach_if_attached(address):
    if address in leased():
        call("Detach", device=address)


def leased():
    return {device["device"]: device for lease in call("Leases")["leases"] for device in lease["devices"]}


def state(address):
    return leased()[address]["state"]


def steps(address, since):
    """(step, result, time) of the ends of sessions after `since`, from the journal."""
    out = run(
        "journalctl",
        "-u",
        "vfiod",
        "-o",
        "json",
        f"--since=@{int(since)}",
        "VFIOD_EVENT=session-step",
        f"VFIOD_DEVICE={address}",
    ).stdout
    entries = [json.loads(line) for line in out.splitlines()]
    found = [(entry["VFIOD_STEP"], entry["VFIOD_RESULT"], int(entry["__REALTIME_TIMESTAMP"]) / 1e6) for entry in entries]
    # journalctl knows whole seconds only, in which another session may have ended.
    return [one for one in found if one[2] >= since]


def interrupt_counts(name):
    """The counts of the host's lines that a device is on, by number."""
    text = pathlib.Path("/proc/interrupts").read_text()
    found = {}
    for line in text.splitlines():
        match = re.match(r"\s*(\d+):((?:\s+\d+)+)\s+(.*)", line)
        if match and name in match.group(3):
            found[match.group(1)] = sum(int(count) for count in match.group(2).split())
    return found


class Watcher:
    """Notes when the number at the beginning of memory changes."""

    def __init__(self, memory):
        self.memory, self.changes, self.running = memory, [], True
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def _watch(self):
        last = None
        while self.running:
            now = struct.unpack("<Q", os.pread(self.memory, 8, 0))[0]
            if now != last:
                self.changes.append(time.time())
            last = now
            time.sleep(0.001)

    def stop(self):
        self.running = False
        self.thread.join(10)


def memory_of(pages):
    memory = os.memfd_create("guest")
    cleanup(os.close, memory)
    os.ftruncate(memory, pages * 4096)
    return memory


@test(levels=("host", "kernel-6.1", "kernel-backports"), deadline=180)
def session_killed():
    """SIGKILL while the device writes memory and fires: the steps in order, and nothing more after the first."""
    before = snapshot_all()
    bind(EDU)
    attach(EDU)
    memory = memory_of(2)
    open_before = descriptors(service_pid())
    for _ in range(2):
        since = time.time()
        owner = Owner("run_for_ever", EDU, memory)
        served = int(owner.line().split()[1])
        expect(served > 0, "no interrupt reached the owner")
        device = leased()[EDU]
        expect_equal((device["state"], device["session"]["processId"]), ("in-use", owner.process.pid), "lease in use")
        lines = interrupt_counts(f"vfio-intx({EDU})")
        expect_equal(len(lines), 1, "lines of the device in /proc/interrupts")
        watcher = Watcher(memory)
        time.sleep(0.5)
        expect(len(watcher.changes) > 1, "the device writes no memory")
        owner.kill()
        wait_until(lambda: state(EDU) == "idle", 40, f"the session is over: {leased()[EDU]}")
        time.sleep(1)
        watcher.stop()
        wait_until(lambda: len(steps(EDU, since)) >= len(STEPS), 10, "the steps are in the journal")
        found = steps(EDU, since)
        expect_equal([(step, result) for step, result, _ in found], [(step, "done") for step in STEPS], "steps")
        late = [change - found[0][2] for change in watcher.changes if change > found[0][2] + 0.05]
        expect_equal(late, [], "seconds after the first step at which memory changed")
        expect_equal(interrupt_counts(f"vfio-intx({EDU})"), {}, "lines of the device after the session")
        number = next(iter(lines))
        quiet = interrupt_counts("").get(number, 0)
        time.sleep(1)
        # A level that stays would come back at once, ten thousand times; a network card on the line has its own few.
        more = interrupt_counts("").get(number, 0) - quiet
        expect(more < 100, f"its line was raised {more} times after the session")
    wait_until(lambda: descriptors(service_pid()) <= open_before, 10, "vfiod's descriptors are as before")
    bind(EDU2)
    _, passed = self_test(EDU2, type="intx", count=20)
    expect(passed, "the neighbour on the same line lost interrupts")
    restore(EDU2)
    expect_equal(Owner("once", EDU).line(), "fired", "the next session's interrupt")
    wait_until(lambda: state(EDU) == "idle", 40, "that session is over")
    call("Detach", device=EDU)
    restore(EDU)
    expect_equal(differences(before, snapshot_all()), [], "state after Restore")


def end(process):
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        pass  # It has ended by itself.


@test(levels=("host", "kernel-backports"), deadline=120)
def kept_descriptor():
    """A child that keeps the device's descriptor is named, and nobody gets the device before it ends."""
    bind(EDU)
    attach(EDU)
    owner = Owner("keep_in_child", EDU)
    child = int(owner.line().split()[1])
    cleanup(end, child)
    since = time.time()
    owner.kill()
    wait_until(lambda: state(EDU) == "held", 40, f"the device is held: {leased()[EDU]}")
    expect_equal([step for step, _, _ in steps(EDU, since)], STEPS, "steps")
    expect_equal([holder["processId"] for holder in leased()[EDU]["holders"]], [child], "holders")
    shown = vfioctl("leases").stdout
    expect(re.search(rf"{EDU}.* held .*\b{child}\b", shown), f"vfioctl leases: {shown}")
    refused = Owner("once", EDU)
    expect_equal(refused.process.wait(30), 1, "status of a session of a held device")
    expect("io.vfiod.lease.NotReady" in refused.process.stderr.read(), "the refusal's name")
    call("Detach", device=EDU)
    error = error_of("Attach", device=EDU, uid=STRANGER)
    codes = {blocker["code"] for blocker in error.parameters["blockers"]}
    # Nothing resets edu, which the stranger would have as its last owner left it.
    expect_equal((error.name, codes), ("io.vfiod.Refused", {"held", "no-reset"}), "Attach")
    bind(EDU2)
    _, passed = self_test(EDU2, type="msi", count=5)
    expect(passed, "a device that nobody holds did not pass its self-test")
    restore(EDU2)
    end(child)
    wait_until(lambda: "held" not in [b["code"] for b in plan_attach(EDU)], 20, "nobody holds the device any more")
    attach(EDU)
    expect_equal(Owner("once", EDU).line(), "fired", "the next session's interrupt")
    wait_until(lambda: state(EDU) == "idle", 40, "that session is over")
    call("Detach", device=EDU)
    restore(EDU)


@test(deadline=120)
def quarantined():
    """A device that is a bus master again after its session is given to nobody, by no vfiod, until it is released."""
    before = snapshot_all()
    bind(EDU)
    attach(EDU)
    owner = Owner("spoil_in_child", EDU)
    child = int(owner.line().split()[1])
    cleanup(end, child)
    since = time.time()
    owner.kill()
    wait_until(lambda: state(EDU) == "quarantined", 40, f"the device is quarantined: {leased()[EDU]}")
    wanted = [(step, "failed" if step == "verify" else "done") for step in STEPS]
    expect_equal([(step, result) for step, result, _ in steps(EDU, since)], wanted, "steps")
    reason = call("Describe", device=EDU)["details"]["quarantine"]
    expect("verify: it is still a bus master" in reason, f"reason: {reason}")
    expect_equal((leased()[EDU]["failure"], devices()[EDU]["state"]), (reason, "quarantined"), "what is told of it")
    expect("quarantined: The session of" in vfioctl("leases").stdout, "vfioctl leases says nothing")
    end(child)
    for round_of in ("this vfiod", "the next vfiod"):
        refused = Owner("once", EDU)
        expect_equal(refused.process.wait(30), 1, f"{round_of}: status of a session of a quarantined device")
        told = refused.process.stderr.read()
        expect("io.vfiod.lease.NotReady" in told and "quarantined" in told, f"{round_of}: the refusal: {told[-300:]}")
        if round_of == "this vfiod":
            kill_vfiod()
            expect_equal((state(EDU), leased()[EDU]["failure"]), ("quarantined", reason), "after the kill")
    call("Detach", device=EDU)
    wait_until(lambda: "held" not in [b["code"] for b in plan_attach(EDU)], 20, "nobody holds the device any more")
    error = error_of("Attach", device=EDU, uid=OWNER, consent=["no-reset"])
    codes = [blocker["code"] for blocker in error.parameters["blockers"]]
    expect_equal((error.name, codes), ("io.vfiod.Refused", ["quarantined"]), "Attach")
    vfioctl("release", EDU)
    attach(EDU)
    expect_equal(Owner("once", EDU).line(), "fired", "the next session's interrupt")
    wait_until(lambda: state(EDU) == "idle", 40, "that session is over")
    call("Detach", device=EDU)
    restore(EDU)
    expect_equal(differences(before, snapshot_all()), [], "state after Restore")


def plan_attach(address):
    return call("Plan", operation="attach", device=address)["plan"]["blockers"]


@test(deadline=120)
def one_owner():
    """The other members of an IOMMU group are for the same owner; Restore and SelfTest wait for Detach."""
    consent = [f"iommu-group-sibling-in-use={SIBLING}", f"network-address={SIBLING}"]
    bind(SHARED_EDU, consent=consent)
    bind(SHARED_EDU2, consent=consent)
    attach(SHARED_EDU)
    for method, parameters in (
        ("Attach", {"device": SHARED_EDU2, "uid": STRANGER}),
        ("Attach", {"device": SHARED_EDU, "uid": STRANGER}),
        ("Restore", {"device": SHARED_EDU}),
        ("Restore", {"device": SHARED_EDU2}),
        ("SelfTest", {"device": SHARED_EDU}),
    ):
        error = error_of(method, **parameters)
        codes = {blocker["code"] for blocker in (error.parameters or {}).get("blockers", [])}
        expect_equal((error.name, codes), ("io.vfiod.Refused", {"leased"}), f"{method} {parameters}")
    attach(SHARED_EDU2)
    (lease,) = call("Leases")["leases"]
    expect_equal([device["device"] for device in lease["devices"]], [SHARED_EDU, SHARED_EDU2], "devices of the lease")
    for address in (SHARED_EDU, SHARED_EDU2):
        expect_equal(Owner("once", address).line(), "fired", f"an interrupt of {address}")
        wait_until(lambda one=address: state(one) == "idle", 40, "that session is over")
    for address in (SHARED_EDU, SHARED_EDU2):
        call("Detach", device=address)
    for address in (SHARED_EDU2, SHARED_EDU):
        if devices()[address]["state"] == "bound":
            restore(address)


@test(deadline=120)
def restart():
    """A lease outlives vfiod, a session does not; its socket is the owner's alone."""
    bind(EDU)
    attach(EDU)
    path = pathlib.Path(leased()[EDU]["socket"])
    expect_equal((path.stat().st_uid, path.stat().st_mode & 0o777), (OWNER, 0o600), "owner and mode of the socket")
    owner = Owner("keep_in_child", EDU)
    child = int(owner.line().split()[1])
    cleanup(end, child)
    since = time.time()
    expect_equal(run("systemctl", "restart", "vfiod").returncode, 0, "status of the restart")
    expect_equal([step for step, _, _ in steps(EDU, since)], STEPS, "steps of the session that was there")
    expect_equal(leased()[EDU]["socket"], str(path), "socket after the restart")
    end(child)
    owner.kill()
    stranger = Owner("once", EDU, user=STRANGER)
    expect_equal(stranger.process.wait(30), 1, "status of another user's session")
    expect("PermissionError" in stranger.process.stderr.read(), "what another user is told")
    expect_equal(Owner("once", EDU).line(), "fired", "the next session's interrupt")
    wait_until(lambda: state(EDU) == "idle", 40, "that session is over")
    call("Detach", device=EDU)
    expect(not path.exists(), "the socket is still there after Detach")
    restore(EDU)


@test(deadline=120)
def hostile_owner():
    """What cannot be is refused by name, and nothing of it stays."""
    bind(EDU)
    attach(EDU)
    memory = memory_of(2)
    before = descriptors(service_pid())
    answers = json.loads(Owner("hostile", EDU, memory).line())
    expect_equal(
        answers,
        [
            "InvalidParameter:",
            "InvalidParameter:",
            "BadMemory:",
            "BadMemory:",
            "BadMemory:",
            "BadRange:unaligned",
            "BadRange:reserved",
            "BadRange:not-mapped",
            "KernelRefused:",
            "InvalidParameter:",
            "InterruptsRefused:no-such-type",
            "InterruptsRefused:not-enabled",
            "InvalidParameter:",
        ],
        "answers",
    )
    wait_until(lambda: state(EDU) == "idle", 40, "the session is over")
    expect_equal(Owner("second", EDU).line(), "io.vfiod.lease.SessionInUse", "what a second connection is told")
    wait_until(lambda: state(EDU) == "idle", 40, "that session is over")
    wait_until(lambda: descriptors(service_pid()) <= before, 10, "vfiod's descriptors are as before")
    call("Detach", device=EDU)
    restore(EDU)


@test()
def not_to_be_attached():
    """What is not bound, a mode that there is not, and numbers that are none."""
    expect_equal(error_of("Attach", device=EDU, uid=OWNER).name, "io.vfiod.WrongState", "Attach of what is not bound")
    expect_equal(error_of("Detach", device=EDU).name, "io.vfiod.WrongState", "Detach of what is not leased")
    for parameters in ({"mode": "vfio"}, {"uid": -1}, {"uid": 0xFFFFFFFF}, {"gid": 1 << 40}):
        error = error_of("Attach", **{"device": EDU, "uid": OWNER, **parameters})
        expect_equal(error.name, "org.varlink.service.InvalidParameter", f"error of {parameters}")
