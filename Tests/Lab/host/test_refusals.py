"""What vfiod refuses, with the reason named and nothing changed."""

import os

from client import bind, call, error_of, restore, self_test, vfioctl
from harness import cleanup, expect, expect_equal, test
from holder import Holder
from machine import E1000E, EDU, NVME, ROOT_DISK, SHARED_EDU, SIBLING, differences, driver, run, snapshot_all


def unchanged():
    before = snapshot_all()
    cleanup(lambda: expect_equal(differences(before, snapshot_all()), [], "devices"))


def blockers(error):
    expect_equal(error.name, "io.vfiod.Refused", "error")
    return error.parameters["blockers"]


@test()
def root_disk():
    """No consent gives the root disk away."""
    unchanged()
    found = blockers(error_of("Bind", device=ROOT_DISK))
    hard = [blocker for blocker in found if not blocker["consent"]]
    expect(hard, f"every blocker can be consented away: {found}")
    expect(any("/" in blocker["evidence"] or "vda" in blocker["evidence"] for blocker in hard), f"no evidence: {hard}")
    codes = [blocker["code"] for blocker in found]
    # What needs no consent cannot be consented to: refused either way.
    name = error_of("Bind", device=ROOT_DISK, consent=codes).name
    expect(name in ("io.vfiod.Refused", "org.varlink.service.InvalidParameter"), f"with every code as consent: {name}")
    expect_equal(driver(ROOT_DISK), "virtio-pci", "driver")


@test()
def sibling_in_use():
    """The IOMMU group of edu behind the bridge has a member whose driver is at work: the refusal names it."""
    unchanged()
    found = blockers(error_of("Bind", device=SHARED_EDU))
    expect(
        any(SIBLING in blocker["message"] + blocker["evidence"] for blocker in found),
        f"{SIBLING} is not named: {found}",
    )
    result = vfioctl("bind", SHARED_EDU, check=False)
    expect(result.returncode != 0, "vfioctl bind ended with 0")
    expect(
        SIBLING in result.stdout + result.stderr, f"vfioctl does not name the sibling: {result.stdout}{result.stderr}"
    )


@test()
def network_address():
    """A network device with an address needs consent that names just that."""
    unchanged()
    found = blockers(error_of("Bind", device=E1000E))
    network = [blocker for blocker in found if blocker["code"] == "network-address"]
    expect_equal(len(network), 1, f"network-address among {found}")
    expect(network[0]["consent"] and "10.0.2.15" in network[0]["evidence"], f"{network[0]}")
    error = error_of("Bind", device=E1000E, consent=["something-else"])
    expect(error.name in ("io.vfiod.Refused", "org.varlink.service.InvalidParameter"), error.name)


@test()
def bridge():
    """A PCI bridge carries other devices: VFIO cannot take it."""
    unchanged()
    blockers(error_of("Bind", device="0000:00:14.0"))


@test()
def self_test_of_unbound_device():
    unchanged()
    error = error_of("SelfTest", device=NVME)
    expect_equal((error.name, error.parameters["device"]), ("io.vfiod.WrongState", NVME), "error, device")
    result = vfioctl("selftest", NVME, check=False)
    expect(result.returncode != 0, "vfioctl selftest ended with 0")
    expect(NVME in result.stderr and "bound" in result.stderr, f"does not say what is wrong: {result.stderr}")


@test()
def restore_of_unbound_device():
    unchanged()
    expect_equal(error_of("Restore", device=EDU).name, "io.vfiod.WrongState", "error")


@test()
def bind_twice():
    """Bind of a device that vfiod has bound has nothing left to do; Restore still knows the state before the first."""
    unchanged()
    bind(EDU)
    before = snapshot_all()
    plan = bind(EDU)["plan"]
    expect_equal((plan["steps"], differences(before, snapshot_all())), ([], []), "steps, changes")
    restore(EDU)


@test(deadline=120)
def vectors_out_of_range():
    bind(NVME)
    names = {
        vectors: error_of("SelfTest", device=NVME, type="msix", vectors=vectors).name
        for vectors in (0, -1, 2049, 1 << 40)
    }
    commands = {
        text: vfioctl("selftest", NVME, "--type", "msix", "--vectors", text, check=False).returncode
        for text in ("0", "2049")
    }
    restore(NVME)
    for vectors, name in names.items():
        expect_equal(name, "org.varlink.service.InvalidParameter", f"vectors {vectors}")
    expect(all(commands.values()), f"vfioctl's exit statuses: {commands}")


@test()
def self_test_arguments():
    bind(EDU)
    errors = [
        error_of("SelfTest", device=EDU, **parameters).name
        for parameters in ({"type": "msi-x"}, {"count": 0}, {"count": -5}, {"fault": "none-such"}, {"type": "msix"})
    ]
    restore(EDU)
    for name in errors:
        expect(name in ("org.varlink.service.InvalidParameter", "io.vfiod.SelfTestUnavailable"), f"errors: {errors}")


@test()
def device_in_use():
    """A device that another process holds through VFIO is not tested under its feet."""
    bind(EDU)
    holder = Holder(EDU)
    cleanup(holder.release)
    error = error_of("SelfTest", device=EDU)
    expect(
        error.name in ("io.vfiod.KernelRefused", "io.vfiod.WrongState", "io.vfiod.DeviceBusy", "io.vfiod.Refused"),
        error.name,
    )
    holder.release()
    _, passed = self_test(EDU, type="msi", count=2)
    restore(EDU)
    expect(passed, "after the holder went")


@test()
def dry_run():
    """A plan says what would be done, and does nothing."""
    unchanged()
    plan = bind(EDU, dryRun=True)["plan"]
    expect(plan["steps"], f"no steps: {plan}")
    expect(
        any("vfio-pci" in (step.get("value") or "") for step in plan["steps"]),
        f"no step names vfio-pci: {plan['steps']}",
    )
    refused = call("Bind", device=ROOT_DISK, dryRun=True)["plan"]
    expect(refused["blockers"], "the plan for the root disk has no blockers")


@test(deadline=120)
def no_kvm():
    """Without /dev/kvm there is no guest to test with; the error says which module would bring it."""
    unchanged()
    bind(EDU)
    expect_equal(run("modprobe", "-r", "kvm_amd").returncode, 0, "modprobe -r kvm_amd")
    cleanup(run, "modprobe", "kvm_amd")
    expect(not os.path.exists("/dev/kvm"), "/dev/kvm is still there")
    error = error_of("SelfTest", device=EDU)
    restore(EDU)
    expect(error.name in ("io.vfiod.SelfTestUnavailable", "io.vfiod.KernelRefused"), error.name)
    expect("/dev/kvm" in str(error) and "kvm_amd" in str(error), f"does not name the node and the module: {error}")


@test(deadline=120)
def vfio_pci_not_loadable():
    """Bind without vfio-pci fails by name, and the device keeps the driver that it had."""
    unchanged()
    rule = "/etc/modprobe.d/lab-no-vfio.conf"
    with open(rule, "w") as file:
        file.write("install vfio-pci /bin/false\ninstall vfio_pci /bin/false\n")
    cleanup(run, "modprobe", "vfio-pci")
    cleanup(os.unlink, rule)
    result = run("modprobe", "-r", "vfio_pci")
    expect_equal(result.returncode, 0, f"modprobe -r vfio_pci ({result.stderr})")
    error = error_of("Bind", device=NVME)
    expect(error.name in ("io.vfiod.Refused", "io.vfiod.KernelRefused"), error.name)
    expect("vfio" in str(error), f"does not name vfio-pci: {error}")
