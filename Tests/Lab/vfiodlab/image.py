"""The host's disk image and kernels, made with mmdebstrap and kept by a key over everything they are made from."""

import os
import pathlib
import shutil
from dataclasses import dataclass

from . import apt, cache, process
from .packages import tool
from .report import LabError

RECIPE = cache.LAB / "image"

# Kernels that share an image stand in one list, because a root file system with two kernels is made faster than two.
IMAGES = {"stable": ("6.12", "6.1"), "backports": ("backports",)}
KERNELS = tuple(kernel for kernels in IMAGES.values() for kernel in kernels)

SUITES = {
    "stable": ("trixie", "trixie-security", "trixie-backports", "bookworm", "bookworm-security"),
    "backports": ("trixie", "trixie-security", "trixie-backports"),
}

# Only this image has a VMM: guests of its own are what the other kernels' hosts are not for.
PACKAGES = {"stable": ("qemu-system-x86", "busybox-static")}

# Which packages may come from a suite that is not the host's own.
PREFERENCES = {
    "stable": """Package: qemu-system-* seabios
Pin: release n=trixie-backports
Pin-Priority: 990

Package: *
Pin: release n=bookworm
Pin-Priority: -1

Package: *
Pin: release n=bookworm-security
Pin-Priority: -1

Package: linux-image-6.1.0-*
Pin: release n=bookworm
Pin-Priority: 100

Package: linux-image-6.1.0-*
Pin: release n=bookworm-security
Pin-Priority: 100
""",
    "backports": """Package: linux-image-* linux-base
Pin: release n=trixie-backports
Pin-Priority: 990
""",
}

# Drivers that no machine of ours has: two thirds of a kernel package, and of the time to unpack it.
UNUSED_MODULES = (
    "sound",
    "drivers/gpu",
    "drivers/media",
    "drivers/net/wireless",
    "drivers/infiniband",
    "drivers/iio",
    "drivers/staging",
    "drivers/input",
    "drivers/hid",
    "drivers/isdn",
    "drivers/mtd",
    "drivers/scsi",
    "drivers/usb/serial",
    "drivers/platform",
    "drivers/bluetooth",
    "net/bluetooth",
    "net/mac80211",
    "drivers/hwmon",
    "drivers/w1",
    "drivers/power",
    "drivers/comedi",
    "drivers/accel",
)

MASKED_UNITS = (
    "serial-getty@ttyS0.service",
    "getty.target",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "systemd-networkd-wait-online.service",
)


@dataclass(frozen=True)
class Image:
    disk: pathlib.Path
    kernel: pathlib.Path
    initrd: pathlib.Path
    release: str


def image_for(kernel):
    return next(name for name, kernels in IMAGES.items() if kernel in kernels)


def key(name):
    return cache.tree_digest(RECIPE, __file__, extra=(name,))


def folder(name):
    return cache.CACHE / "images" / f"{name}-{key(name)}"


def ensure(report, kernel):
    """The image with `kernel`, made now if this recipe has not been made before."""
    name = image_for(kernel)
    where = folder(name)
    if not (where / "complete").exists():
        with cache.locked(f"image-{name}"):
            if not (where / "complete").exists():
                _make(report, name, where)
    release = (where / f"release-{kernel}").read_text()
    return Image(where / "root.img", where / f"vmlinuz-{kernel}", where / f"initrd-{kernel}", release)


def _make(report, name, where):
    if os.geteuid() != 0:
        raise LabError("making the host's image needs root (mmdebstrap); run the lab once as root")
    # Only one lab makes this image at a time, so a half-made one is a dead lab's.
    work = where.with_name(where.name + ".part")
    shutil.rmtree(work, ignore_errors=True)
    shutil.rmtree(where, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        rootfs = work / "rootfs"
        _bootstrap(report, name, work, rootfs)
        _configure(rootfs)
        _take_kernels(name, rootfs, work)
        process.run(
            report,
            "making the disk image",
            [
                tool("mke2fs"),
                "-q",
                "-t",
                "ext4",
                "-L",
                "host",
                "-d",
                rootfs,
                "-O",
                "^has_journal",
                work / "root.img",
                "2G",
            ],
            work / "mke2fs.log",
        )
        shutil.rmtree(rootfs)
        (work / "complete").touch()
        work.rename(where)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _bootstrap(report, name, work, rootfs):
    lists = work / "sources.list"
    lists.write_text(apt.lines(SUITES[name]))
    preferences = work / "preferences"
    preferences.write_text(PREFERENCES[name])
    packages = [
        line.strip()
        for line in (RECIPE / "packages.txt").read_text().splitlines()
        if line.strip() and not line.startswith("#")
    ]
    packages += PACKAGES.get(name, ())
    excluded = ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*"]
    excluded += [f"{lib}/modules/*/kernel/{part}/*" for lib in ("/lib", "/usr/lib") for part in UNUSED_MODULES]
    hooks = [
        '--setup-hook=mkdir -p "$1/etc/apt/preferences.d"',
        f"--setup-hook=cp '{preferences}' \"$1/etc/apt/preferences.d/lab\"",
        f"--setup-hook=cp -a '{RECIPE}/files/.' \"$1/\"",
    ]
    if "6.1" in IMAGES[name]:
        # Debian 12's newest kernel has no name of its own in the host's suite: take the highest.
        hooks.append(
            '--customize-hook=chroot "$1" sh -ec \'apt-get install -y -q --no-install-recommends '
            '$(apt-cache pkgnames linux-image-6.1.0- | grep -E "^linux-image-6[.]1[.]0-[0-9]+-amd64\\$" '
            "| sort -V | tail -n 1)'"
        )
    # A mount namespace of its own: whatever ends mmdebstrap, its mounts go with it.
    process.run(
        report,
        f"making the host's root file system ({name})",
        [
            tool("unshare"),
            "--mount",
            "--propagation",
            "private",
            tool("mmdebstrap"),
            "--mode=root",
            "--variant=minbase",
            "--format=directory",
            "--include=" + ",".join(packages),
            "--aptopt=Apt::Install-Recommends false",
            "--dpkgopt=force-unsafe-io",
            *(f"--dpkgopt=path-exclude={pattern}" for pattern in excluded),
            *hooks,
            "trixie",
            rootfs,
            lists,
        ],
        work / "mmdebstrap.log",
        deadline=1200,
    )


def _configure(rootfs):
    etc = rootfs / "etc"
    (etc / "fstab").write_text("/dev/vda / ext4 rw 0 0\n")
    (etc / "hostname").write_text("hypervisor\n")
    (etc / "hosts").write_text("127.0.0.1 localhost hypervisor\n")
    # With an identity there is no "first boot", which would take seconds each time.
    (etc / "machine-id").write_text("76666961626c6162766669616269686f\n")
    for stamp in (etc / ".updated", rootfs / "var" / ".updated"):
        stamp.touch()
    units = etc / "systemd" / "system"
    for unit in MASKED_UNITS:
        _link(units / unit, "/dev/null")
    # A login prompt on the console would hang up whoever writes to it.
    shutil.rmtree(units / "getty.target.wants", ignore_errors=True)
    _link(units / "default.target", "/usr/lib/systemd/system/multi-user.target")
    for unit, provider in (("vfiod-lab.service", "/etc"), ("systemd-networkd.service", "/usr/lib")):
        wants = units / "multi-user.target.wants"
        wants.mkdir(exist_ok=True)
        _link(wants / unit, f"{provider}/systemd/system/{unit}")
    shutil.rmtree(rootfs / "var" / "lib" / "apt" / "lists", ignore_errors=True)
    shutil.rmtree(rootfs / "var" / "cache" / "apt", ignore_errors=True)


def _link(path, target):
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def _take_kernels(name, rootfs, work):
    """QEMU loads kernel and initrd itself, so they are copied out of the image, under the kernel option's name. The kernels
    stay in it for the host's own guests."""
    boot = rootfs / "boot"
    releases = sorted(path.name.removeprefix("vmlinuz-") for path in boot.glob("vmlinuz-*"))
    for kernel in IMAGES[name]:
        matching = [r for r in releases if kernel == "backports" or r.startswith(kernel + ".")]
        if not matching:
            raise LabError(f"no kernel {kernel} in the image, only {', '.join(releases) or 'none'}")
        release = matching[-1]
        shutil.copy(boot / f"vmlinuz-{release}", work / f"vmlinuz-{kernel}")
        shutil.copy(boot / f"initrd.img-{release}", work / f"initrd-{kernel}")
        (work / f"release-{kernel}").write_text(release)
    for path in boot.glob("initrd.img-*"):
        path.unlink()
