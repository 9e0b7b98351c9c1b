"""Monitor: the devices as they are, then every change in order, to any number of clients, however slow one is."""

import json
import pathlib
import socket
import subprocess
import threading

from client import CallError, Connection, bind, call, devices, error_of, restore
from harness import cleanup, expect, expect_equal, test, wait_until
from machine import (
    EDU,
    IGB,
    PCI,
    XHCI,
    descriptors,
    driver,
    first_virtual_function,
    run,
    service_pid,
    write,
)

RESCAN = "/sys/bus/pci/rescan"
MANY = 300


class Follower:
    """Takes events on a thread of its own. Those of the state that comes first are kept apart."""

    def __init__(self):
        self.connection = Connection(timeout=None)
        cleanup(self.connection.socket.close)
        self.state = {}
        self.events = []
        self.is_complete = threading.Event()
        self.error = None
        threading.Thread(target=self._follow, daemon=True).start()
        expect(self.is_complete.wait(30), "no end of the devices as they are")

    def _follow(self):
        try:
            self.connection.call("io.vfiod.Monitor", more=True, on_progress=self._take)
        except CallError as error:
            self.error = error
        except OSError:
            pass

    def _take(self, reply):
        event = reply["event"]
        if event["kind"] == "complete":
            self.is_complete.set()
        elif self.is_complete.is_set():
            self.events.append(event)
        else:
            self.state[event["address"]] = event

    def of(self, address):
        return [event for event in list(self.events) if event.get("address") == address]

    def wait(self, address, what, condition):
        return wait_until(
            lambda: next((event for event in self.of(address) if condition(event)), None), 20, f"{address}: {what}"
        )

    def kinds(self, address):
        return [event["kind"] for event in self.of(address) if event["kind"] != "operation-step"]


def subscriptions():
    """Descriptors of vfiod: each connection is one."""
    return descriptors(service_pid())


@test()
def current_state_first():
    follower = Follower()
    listed = devices()
    expect_equal({a: event["device"] for a, event in follower.state.items()}, listed, "the devices as they are")
    expect_equal({event["kind"] for event in follower.state.values()}, {"device"}, "kinds")
    expect_equal(follower.state[IGB]["virtualFunctions"], 0, f"virtual functions of {IGB}")


@test()
def only_with_more():
    expect_equal(error_of("Monitor").name, "org.varlink.service.ExpectedMore", "error")


@test(deadline=90)
def driver_change():
    follower = Follower()
    name = driver(XHCI)
    write(f"/sys/bus/pci/drivers/{name}/unbind", XHCI)
    cleanup(lambda: driver(XHCI) or write(f"/sys/bus/pci/drivers/{name}/bind", XHCI))
    follower.wait(XHCI, "without driver", lambda event: "driver" not in event["device"])
    write(f"/sys/bus/pci/drivers/{name}/bind", XHCI)
    wait_until(lambda: len(follower.of(XHCI)) >= 2, 20, f"a second event of {XHCI}")
    expect_equal([event["kind"] for event in follower.of(XHCI)], ["changed", "changed"], "kinds")
    expect_equal(follower.of(XHCI)[-1]["device"], devices()[XHCI], "the device after it")


@test(deadline=90)
def bind_and_restore():
    follower = Follower()
    bind(EDU)
    restore(EDU)
    wait_until(lambda: follower.kinds(EDU).count("operation-ended") == 2, 20, "the ends of both operations")
    expect_equal(
        follower.kinds(EDU),
        ["operation-begun", "changed", "operation-ended"] * 2,
        "events in order, but for the steps",
    )
    steps = [event["operation"]["step"] for event in follower.of(EDU) if event["kind"] == "operation-step"]
    for step in ("record", "driver_override", "probe"):
        expect(step in steps, f"no step {step}: {steps}")
    ends = [event for event in follower.of(EDU) if event["kind"] == "operation-ended"]
    expect_equal([end["device"]["state"] for end in ends], ["bound", "available"], "states after each")
    expect_equal([end["operation"]["name"] for end in ends], ["bind", "restore"], "operations")
    expect(not any("failure" in end for end in ends), f"failures: {ends}")


@test(deadline=90)
def hot_unplug_and_replug():
    follower = Follower()
    write(PCI / EDU / "remove", "1")
    cleanup(write, RESCAN, "1")
    follower.wait(EDU, "removed", lambda event: event["kind"] == "removed")
    write(RESCAN, "1")
    follower.wait(EDU, "with its vectors", lambda event: event.get("device", {}).get("msi") == 1)
    expect_equal(follower.kinds(EDU)[:2], ["removed", "added"], "events in order")
    expect("device" not in follower.of(EDU)[0], "a device that is not there any more is shown")


@test(deadline=120)
def virtual_functions():
    follower = Follower()
    address = first_virtual_function()
    follower.wait(IGB, "one virtual function", lambda event: event.get("virtualFunctions") == 1)
    follower.wait(address, "its driver", lambda event: event["device"].get("driver") == "igbvf")
    write(PCI / IGB / "sriov_numvfs", "0")
    follower.wait(address, "removed", lambda event: event["kind"] == "removed")
    follower.wait(IGB, "none again", lambda event: event.get("virtualFunctions") == 0)
    kinds = follower.kinds(address)
    expect_equal((kinds[0], kinds[-1]), ("added", "removed"), "first and last event")


@test(deadline=180)
def stuck_client():
    """It holds up nobody, and is forgotten when it ends."""
    before = subscriptions()
    stuck = Connection()
    cleanup(stuck.socket.close)
    stuck.send_raw(b'{"method":"io.vfiod.Monitor","more":true}\0')
    follower = Follower()
    # The one that is bound and unbound at the least cost.
    run("modprobe", "pci-stub")
    drivers = pathlib.Path("/sys/bus/pci/drivers/pci-stub")
    write(PCI / EDU / "driver_override", "pci-stub")
    cleanup(write, PCI / EDU / "driver_override", "\n")
    write("/sys/bus/pci/drivers_probe", EDU)
    cleanup(lambda: driver(EDU) and write(drivers / "unbind", EDU))
    follower.wait(EDU, "its driver", lambda event: event["device"].get("driver") == "pci-stub")
    # More than its socket holds. Two changes that come at once would be none.
    while (seen := len(follower.events)) < MANY:
        write(drivers / ("unbind" if driver(EDU) else "bind"), EDU)
        wait_until(lambda: len(follower.events) > seen, 20, "the change is told to who reads")
    expect(follower.error is None, f"the client that reads was told {follower.error}")
    first = stuck.reply()["parameters"]["event"]
    expect_equal(first["kind"], "device", "what the stuck client reads first")
    stuck.socket.close()
    follower.connection.socket.shutdown(socket.SHUT_RDWR)
    wait_until(lambda: subscriptions() <= before, 20, "the connections are closed")


@test(deadline=90)
def command_line():
    monitor = subprocess.Popen(["vfioctl", "monitor", "--json"], stdout=subprocess.PIPE, text=True)
    cleanup(monitor.kill)
    events = []
    while not events or events[-1]["kind"] != "complete":
        events.append(json.loads(monitor.stdout.readline())["event"])
    expect_equal(len(events) - 1, len(call("List")["devices"]), "devices before complete")
    bind(EDU)
    cleanup(restore, EDU)
    while events[-1]["kind"] != "operation-ended":
        events.append(json.loads(monitor.stdout.readline())["event"])
    expect_equal(events[-1]["device"]["state"], "bound", "state")
    monitor.terminate()
