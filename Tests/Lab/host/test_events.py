"""What a device that vfiod has open tells of: the host asks for it back."""

import subprocess
import threading

from client import CallError, Connection, bind, devices, restore
from harness import cleanup, expect, expect_equal, test, wait_until
from machine import EDU, XHCI, differences, driver, run, shell, snapshot_all


class Running:
    """A self-test of many raises, in the background."""

    def __init__(self, address):
        self.progress, self.error, self.reply = [], None, None
        self.thread = threading.Thread(target=self._call, args=(address,), daemon=True)
        self.thread.start()
        wait_until(lambda: shell("pidof vfiod-selftest-guest").stdout.strip(), 30, "the self-test's guest runs")

    def _call(self, address):
        try:
            with Connection() as connection:
                self.reply = connection.call(
                    "io.vfiod.SelfTest",
                    more=True,
                    on_progress=lambda said: self.progress.append(said.get("progress") or ""),
                    device=address,
                    count=1_000_000,
                )
        except CallError as error:
            self.error = error


def unbind_by_hand(address):
    """Blocks until whoever has the device open lets go of it."""
    writer = subprocess.Popen(["sh", "-c", f"echo {address} > /sys/bus/pci/drivers/vfio-pci/unbind"])
    cleanup(writer.wait, 60)
    return writer


def asked_back(address):
    before = snapshot_all()
    bind(address)
    test_run = Running(address)
    writer = unbind_by_hand(address)
    test_run.thread.join(30)
    expect(not test_run.thread.is_alive(), "the self-test goes on although the host asks for the device")
    expect(test_run.error is not None, f"the self-test was carried out: {test_run.reply}")
    expect_equal(test_run.error.name, "io.vfiod.DeviceAskedBack", "error")
    expect_equal(test_run.error.parameters, {"device": address, "operation": "selftest"}, "its parameters")
    expect(any("asks for the device back" in line for line in test_run.progress), f"progress: {test_run.progress[-3:]}")
    expect_equal(writer.wait(30), 0, "status of the unbind")
    expect_equal(driver(address), None, "driver after the unbind")
    expect(not shell("pidof vfiod-selftest-guest").stdout.strip(), "the self-test's guest still runs")
    journal = run("journalctl", "-u", "vfiod", "-o", "cat", "VFIOD_EVENT=device-asked-back", f"VFIOD_DEVICE={address}")
    expect("asks for the device back" in journal.stdout, f"no event in the journal: {journal.stdout!r}")
    restore(address)
    expect_equal(devices()[address]["state"], "available", "state after Restore")
    expect_equal(differences(before, snapshot_all()), [], "state after Restore")


@test(deadline=150)
def edu_is_asked_back_during_a_self_test():
    asked_back(EDU)


@test(levels=("host", "kernel-6.1"), deadline=150)
def xhci_is_asked_back_during_a_self_test():
    asked_back(XHCI)


@test(deadline=150)
def vfioctl_says_who_ended_the_self_test():
    bind(EDU)
    client = subprocess.Popen(
        ["vfioctl", "selftest", EDU, "--count", "1000000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    cleanup(client.kill)
    wait_until(lambda: shell("pidof vfiod-selftest-guest").stdout.strip(), 30, "the self-test's guest runs")
    writer = unbind_by_hand(EDU)
    _, errors = client.communicate(timeout=60)
    expect(client.returncode not in (0, None), f"ended with {client.returncode}")
    expect("asks for the device back" in errors and EDU in errors, f"vfioctl: {errors!r}")
    expect_equal(writer.wait(30), 0, "status of the unbind")
    restore(EDU)
