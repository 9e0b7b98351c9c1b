"""vfiod is killed in the middle of things: systemd brings it back, and it ends what it began."""

import os
import signal
import threading

from client import Connection, bind, call, devices, restore
from harness import cleanup, expect, expect_equal, test, wait_until
from holder import Holder
from machine import E1000E, EDU, XHCI, differences, driver, ping, service_pid, snapshot_all


def kill_vfiod():
    """SIGKILL; returns once another vfiod answers."""
    pid = service_pid()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: service_pid() not in (0, pid), 30, "systemd starts vfiod again")
    wait_until(lambda: call("List")["devices"], 30, "the new vfiod answers")


def begin(method, /, **parameters):
    """A call whose answer may never come."""

    def body():
        try:
            with Connection(timeout=60) as connection:
                connection.call(method, **parameters)
        except Exception:
            pass  # vfiod was killed under it: that is the test.

    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    return thread


def killed_while_restore_is_blocked(address, wanted_driver, **parameters):
    before = snapshot_all()
    bind(address, **parameters)
    holder = Holder(address)
    cleanup(holder.release)
    begin("io.vfiod.Restore", device=address)
    wait_until(lambda: devices()[address]["state"] == "busy", 30, "Restore is under way")
    kill_vfiod()
    # It answers while the Restore is still blocked: nothing of it waits in vfiod's own threads.
    expect(driver(address) in ("vfio-pci", None), f"driver {driver(address)} while a process holds the device")
    expect(devices()[address]["state"] != "available", "reported available while a process holds it")
    holder.release()
    wait_until(
        lambda: driver(address) == wanted_driver and devices()[address]["state"] == "available",
        60,
        f"{address} is with {wanted_driver or 'no driver'} again",
    )
    wait_until(lambda: not differences(before, snapshot_all()), 30, "every setting is as before")


@test(deadline=180)
def killed_while_restore_of_e1000e_is_blocked():
    killed_while_restore_is_blocked(E1000E, "e1000e", consent=["network-address"])
    expect(ping(), "no ping after Restore")


@test(deadline=180)
def killed_while_restore_of_edu_is_blocked():
    killed_while_restore_is_blocked(EDU, None)


@test(deadline=120)
def restore_blocked_by_a_holder_ends_when_it_goes():
    """The same without a kill: the Restore says what holds it up, and is carried out later."""
    before = snapshot_all()
    bind(XHCI)
    holder = Holder(XHCI)
    cleanup(holder.release)
    begin("io.vfiod.Restore", device=XHCI)
    wait_until(lambda: devices()[XHCI]["state"] == "busy", 30, "Restore is under way")
    details = call("Describe", device=XHCI)["details"]
    expect(details.get("operation"), f"Describe names no operation: {details}")
    holder.release()
    # The last setting is back before the operation ends, and a busy device takes no other.
    wait_until(
        lambda: devices()[XHCI]["state"] == "available" and not differences(before, snapshot_all()),
        60,
        "every setting is as before",
    )


@test(deadline=120)
def killed_while_bound():
    """What was recorded at Bind is known to the next vfiod."""
    before = snapshot_all()
    bind(XHCI)
    kill_vfiod()
    expect_equal(devices()[XHCI]["state"], "bound", "state after the kill")
    restore(XHCI)
    expect_equal(differences(before, snapshot_all()), [], "state after Restore")


@test(deadline=120)
def killed_during_self_test():
    """The test's guest goes with vfiod, and nothing holds the device."""
    bind(EDU)
    begin("io.vfiod.SelfTest", device=EDU, count=100_000)
    wait_until(lambda: os.popen("pidof vfiod-selftest-guest").read().strip(), 30, "the guest runs")
    kill_vfiod()
    wait_until(lambda: not os.popen("pidof vfiod-selftest-guest").read().strip(), 10, "the guest is gone")
    restore(EDU)
    expect_equal(driver(EDU), None, "driver")
