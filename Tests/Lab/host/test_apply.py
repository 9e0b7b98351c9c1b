"""The host as the configuration asks: brought about, left alone, and given back."""

import os
import pathlib

from client import call, devices, error_of, restore, vfioctl
from harness import cleanup, expect, expect_equal, test
from machine import E1000E, EDU, EDU2, IGB, PCI, ROOT_DISK, differences, driver, read, snapshot_all

CONFIGURATION = pathlib.Path("/etc/vfiod/vfiod.toml")
# The second virtual function of igb: by its path, as there is nothing at its address yet.
FUNCTION = f"{IGB.split(':', 1)[0]}:00:14.0/10.2"


def configure(text):
    """What the configuration says besides what it says already, until the test ends."""
    if not hasattr(configure, "before"):
        configure.before = CONFIGURATION.read_text()
        cleanup(put_back)
    CONFIGURATION.write_text(configure.before + text)


def put_back():
    CONFIGURATION.write_text(configure.before)
    del configure.before
    call("Apply")


def table(name, address=None, **keys):
    keys = {"address": address, **keys} if address else keys
    lines = "".join(f"{key.replace('_', '-')} = {value}\n" for key, value in quoted(keys))
    return f'\n[[device]]\nname = "{name}"\n{lines}'


def quoted(keys):
    for key, value in keys.items():
        if isinstance(value, bool):
            yield key, str(value).lower()
        elif isinstance(value, list):
            yield key, "[" + ", ".join(f'"{word}"' for word in value) + "]"
        else:
            yield key, value if isinstance(value, int) else f'"{value}"'


def outcomes(results):
    return {f"{result['name']} {result['action']}": result["outcome"] for result in results}


@test(deadline=180)
def brought_about_and_given_back():
    """Virtual functions, one of them bound, an edu, and a network card by consent; then another file, and none."""
    before = snapshot_all()
    ports = table("ports", IGB, virtual_functions=7)
    card = table("card", E1000E, bind=True, consent=["network-address"])
    configure(table("port", path=FUNCTION, bind=True) + table("edu", EDU, bind=True) + ports + card)
    shown = vfioctl("apply", "--dry-run", check=False)
    expect("ports (0000:01:00.0): virtual-functions: planned" in shown.stdout, shown.stdout)
    expect_equal(differences(before, snapshot_all()), [], "state after a dry run")
    wanted = {"ports virtual-functions": "done", "port bind": "done", "edu bind": "done", "card bind": "done"}
    expect_equal(outcomes(call("Apply")["results"]), wanted, "outcomes")
    function = os.path.basename(os.readlink(PCI / IGB / "virtfn1"))
    for address in (function, EDU, E1000E):
        expect_equal(driver(address), "vfio-pci", f"driver of {address}")
    expect_equal(read(PCI / IGB / "sriov_numvfs"), b"7\n", "virtual functions")
    expect_equal(devices()[function].get("configuredName"), "port", "configured name")
    again = vfioctl("apply")
    expect_equal(again.stdout.count("unchanged"), 4, f"unchanged in {again.stdout}")
    # What somebody bound by hand is theirs.
    call("Bind", device=EDU2)
    configure(table("edu", EDU, bind=True))
    wanted = {"card restore": "done", "port restore": "done", "ports restore": "done", "edu bind": "unchanged"}
    expect_equal(outcomes(call("Apply")["results"]), wanted, "outcomes of less")
    configure("")
    expect_equal(outcomes(call("Apply")["results"]), {"edu restore": "done"}, "outcomes of nothing")
    expect_equal(driver(EDU2), "vfio-pci", f"driver of {EDU2}")
    restore(EDU2)
    expect_equal(differences(before, snapshot_all()), [], "state after all was given back")


@test(deadline=120)
def one_refusal_stops_no_other():
    """The root disk is never taken, nor claimed; the others are what they are to be."""
    disk = table("disk", ROOT_DISK, bind=True, claim_at_boot=True)
    lost = table("lost", "0000:00:1e.0", bind=True)
    configure(disk + lost + table("card", E1000E, bind=True) + table("edu", EDU, bind=True))
    result = vfioctl("apply", "--no-boot-claims", check=False)
    expect_equal(result.returncode, 1, "exit status")
    for words in ("disk (0000:00:01.0): bind: refused: root-disk, mounted", "network-address", "lost: bind:"):
        expect(words in result.stdout, f"no {words!r} in {result.stdout}")
    expect("edu (0000:00:10.0): bind: done" in result.stdout, result.stdout)
    reply = call("Apply", dryRun=True)
    expect_equal(reply["bootClaims"], "", "claims")
    expect_equal((driver(ROOT_DISK), driver(EDU)), ("virtio-pci", "vfio-pci"), "drivers")


@test()
def a_file_that_cannot_be_used():
    configure(table("edu", EDU, bnid=True))
    error = error_of("Apply")
    expect_equal(error.name, "io.vfiod.ConfigurationUnusable", "error")
    expect("did you mean bind?" in error.parameters["reason"] and error.parameters["line"] > 1, str(error))
    result = vfioctl("apply", check=False)
    expect_equal(result.returncode, 1, "exit status")
    expect("nothing was changed" in result.stderr and f"{CONFIGURATION}:" in result.stderr, result.stderr)
    expect_equal(driver(EDU), None, f"driver of {EDU}")
