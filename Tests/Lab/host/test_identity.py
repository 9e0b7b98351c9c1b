"""Devices by name and by what they are, pools, and what is said when it does not fit."""

import pathlib

from client import bind, call, devices, error_of, restore, vfioctl
from harness import cleanup, expect, expect_equal, test, wait_until
from machine import E1000E, EDU, EDU2, IGB, NVME, PCI, SHARED_EDU, driver, run, write

CONFIGURATION = pathlib.Path("/etc/vfiod/vfiod.toml")
RESCAN = "/sys/bus/pci/rescan"
SERIAL_OF_NOBODY = "00-00-00-00-00-00-00-01"


def details(device):
    return call("Describe", device=device)["details"]


def serial():
    return details(E1000E)["serialNumber"]


def restart():
    result = run("systemctl", "restart", "vfiod.service")
    expect_equal(result.returncode, 0, f"restart: {result.stderr}")


def configure(text):
    """Adds to the configuration for this test."""
    before = CONFIGURATION.read_text()

    def put_back():
        CONFIGURATION.write_text(before)
        restart()

    cleanup(put_back)
    CONFIGURATION.write_text(before + text)
    restart()


@test()
def by_what_it_is():
    own = serial()
    igb = details(IGB)["path"]
    path = "/".join([igb[0], igb[1].split(":")[-1]])
    for device, address in (
        ("id=1b36:0010", NVME),
        (f"serial={own}", E1000E),
        (f"serial={own.upper()},id=8086:10d3", E1000E),
        (f"path={path}", IGB),
        (f"address={EDU},id=1234:11e8", EDU),
        ("00:10.0", EDU),
    ):
        expect_equal(details(device)["device"]["address"], address, device)
    slot = details(IGB).get("slot")
    if slot is not None:
        expect_equal(details(f"slot={slot},id=8086:10c9")["device"]["address"], IGB, f"slot {slot}")


@test()
def what_does_not_fit_is_named():
    own = serial()
    for device, expected in (
        (f"address={EDU},id=8086:10d3", {"address": EDU, "part": "id", "expected": "8086:10d3", "found": "1234:11e8"}),
        (
            f"address={E1000E},serial={SERIAL_OF_NOBODY}",
            {"address": E1000E, "part": "serial", "expected": SERIAL_OF_NOBODY, "found": own},
        ),
        (
            f"address=0000:00:1e.0,serial={own}",
            {"address": E1000E, "part": "address", "expected": "0000:00:1e.0", "found": E1000E},
        ),
    ):
        for method in ("Describe", "Bind", "Restore", "SelfTest", "Interrupts"):
            error = error_of(method, device=device)
            expect_equal(error.name, "io.vfiod.IdentityMismatch", f"{method} {device}")
            expect_equal(error.parameters, {"device": device, **expected}, f"{method} {device}")
    expect_equal(driver(EDU), None, f"driver of {EDU}")
    expect_equal(driver(E1000E), "e1000e", f"driver of {E1000E}")
    error = error_of("Bind", device="id=1234:11e8")
    expect_equal(error.name, "io.vfiod.AmbiguousDevice", "error")
    expect({EDU, EDU2, SHARED_EDU} <= set(error.parameters["candidates"]), f"candidates: {error.parameters}")
    expect_equal(error_of("Bind", device=f"serial={SERIAL_OF_NOBODY}").name, "io.vfiod.DeviceNotFound", "error")
    for device in ("", "-x", "../../x", "00:10", "id=", "id=1234:11e8,", "serial=x", "x" * 65, "path=" + "0" * 100000):
        error = error_of("Describe", device=device)
        expect_equal(error.name, "org.varlink.service.InvalidParameter", f"error for {device[:40]!r}")


@test(deadline=120)
def names():
    lost = f'[[device]]\nname = "lost"\naddress = "{EDU}"\nslot = "77"\n'
    configure(f'\n[[device]]\nname = "nic"\nserial = "{serial()}"\n{lost}')
    expect_equal(devices()[E1000E].get("configuredName"), "nic", "configured name")
    expect("configuredName" not in devices()[EDU], f"{EDU} has a name, though its slot differs")
    expect("CALLED" in vfioctl("list").stdout and "nic" in vfioctl("show", "nic").stdout, "names are not shown")
    expect_equal(details("nic")["device"]["address"], E1000E, "nic")
    error = error_of("Bind", device="lost")
    expect_equal((error.name, error.parameters["part"]), ("io.vfiod.IdentityMismatch", "slot"), "error")
    result = vfioctl("bind", "lost", check=False)
    expect("[io.vfiod.IdentityMismatch]" in result.stderr and "77" in result.stderr, result.stderr)
    expect_equal(call("Bind", device="nic", dryRun=True)["device"], E1000E, "device of the plan")


@test(deadline=180)
def pool():
    configure(f'\n[[pool]]\nname = "edus"\ndevices = ["{EDU}", "id=1234:11e8"]\n')
    expect_equal(call("Plan", operation="bind", device="edus")["device"], EDU, "planned")
    expect_equal(bind("edus")["device"], EDU, "first")
    cleanup(restore, EDU)
    # The others in the order of addresses.
    expect_equal(bind("edus")["device"], EDU2, "second")
    cleanup(restore, EDU2)
    # Those that are left share an IOMMU group with a device in use.
    error = error_of("Bind", device="edus")
    expect_equal(error.name, "io.vfiod.PoolExhausted", "error")
    reasons = {member["member"]: member["reason"] for member in error.parameters["members"]}
    expect_equal(reasons[EDU], "It is bound.", f"reason of {EDU}")
    expect("iommu-group-sibling-in-use" in reasons[SHARED_EDU], f"reason of {SHARED_EDU}: {reasons}")
    for method in ("Describe", "Restore", "Interrupts", "SelfTest"):
        error = error_of(method, device="edus")
        expect_equal(error.name, "io.vfiod.DeviceIsPool", method)
        expect_equal(error.parameters["members"], [EDU, "id=1234:11e8"], "members")
    restore(EDU)
    expect("0000:00:10.0 is bound" in vfioctl("bind", "edus").stdout, "vfioctl does not say which")


@test(deadline=120)
def found_again_after_it_came_back():
    configure(f'\n[[device]]\nname = "nic"\nserial = "{serial()}"\n')
    write(PCI / E1000E / "remove", "1")
    cleanup(write, RESCAN, "1")
    wait_until(lambda: E1000E not in devices(), 20, f"{E1000E} is listed no more")
    expect_equal(error_of("Describe", device="nic").name, "io.vfiod.DeviceNotFound", "error")
    write(RESCAN, "1")
    wait_until(lambda: driver(E1000E) == "e1000e", 30, f"{E1000E} has its driver")
    wait_until(lambda: devices().get(E1000E, {}).get("configuredName") == "nic", 20, "it has its name again")
    expect_equal(details("nic")["device"]["address"], E1000E, "nic")


@test(deadline=120)
def a_wrong_file_is_refused_with_its_line():
    path = pathlib.Path("/run/identity.toml")
    cleanup(path.unlink)
    path.write_text('[[device]]\nname = "a"\nslot = "1"\n[[device]]\nname = "b"\nserail = "x"\n')
    result = run("/usr/libexec/vfiod/vfiod", "--check-config", "--config", str(path))
    expect(result.returncode != 0, "the file was taken")
    for word in (f"{path}:6:", "[[device]] number 2", "serail", "did you mean serial?"):
        expect(word in result.stderr + result.stdout, f"no {word!r} in {result.stderr}{result.stdout}")
