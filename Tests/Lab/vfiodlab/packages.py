"""The Debian packages that the outer machine needs. Only what is missing is installed."""

import glob
import os
import re
import shutil
import subprocess
import tempfile

from . import apt, process
from .report import LabError

# (what shows that it is there, Debian package)
NEEDED = (
    ("mmdebstrap", "mmdebstrap"),
    ("mke2fs", "e2fsprogs"),
    ("unshare", "util-linux"),
    ("strip", "binutils"),
    ("systemd-analyze", "systemd"),
    ("/usr/include/**/pci/pci.h", "libpci-dev"),
    ("/usr/share/keyrings/debian-archive-keyring.gpg", "debian-archive-keyring"),
)

# The first QEMU with igb (SR-IOV), x2APIC under software emulation and VT-d together.
QEMU_MAJOR = 10
QEMU_PACKAGES = ("qemu-system-x86", "seabios")

# /usr/sbin is not on every user's path.
SEARCH_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def tool(name):
    found = shutil.which(name, path=SEARCH_PATH)
    if not found:
        raise LabError(f"{name} is not installed")
    return found


def _present(probe):
    return (
        bool(glob.glob(probe, recursive=True))
        if probe.startswith("/")
        else shutil.which(probe, path=SEARCH_PATH) is not None
    )


def qemu_major():
    path = shutil.which("qemu-system-x86_64", path=SEARCH_PATH)
    if not path:
        return 0
    text = subprocess.run([path, "--version"], capture_output=True, text=True).stdout
    match = re.search(r"version (\d+)\.", text)
    return int(match.group(1)) if match else 0


def ensure(report):
    missing = [package for probe, package in NEEDED if not _present(probe)]
    old_qemu = qemu_major()
    if old_qemu < QEMU_MAJOR:
        missing += QEMU_PACKAGES
    if not missing:
        return
    names = " ".join(missing)
    if os.geteuid() != 0:
        raise LabError(
            f"these Debian packages are missing: {names}\n"
            f"(QEMU {QEMU_MAJOR} or later: on Debian 12 from bookworm-backports). "
            "Install them, or run the lab once as root."
        )
    if not shutil.which("apt-get"):
        raise LabError(f"this machine has no apt-get; install by hand what these Debian packages hold: {names}")
    report.say(f"installing Debian packages: {names}")
    _install(report, missing)
    if qemu_major() < QEMU_MAJOR:
        raise LabError(f"QEMU {QEMU_MAJOR} or later is needed, found {qemu_major() or 'none'}")


def _install(report, packages):
    with open("/etc/os-release") as file:
        release = dict(line.rstrip().split("=", 1) for line in file if "=" in line)
    codename = release.get("VERSION_CODENAME", "").strip('"')
    with tempfile.TemporaryDirectory(prefix="vfiod-lab-apt.") as scratch:
        options = ["-o", "DPkg::Lock::Timeout=600", "-o", "APT::Install-Recommends=false", "-y", "-q"]
        if codename == "bookworm" and set(packages) & set(QEMU_PACKAGES):
            # A private copy of the sources, with backports beside them: this machine's configuration stays as it is.
            options += _with_backports(scratch, codename)
        env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
        log = os.path.join(scratch, "apt.log")
        process.run(report, "reading package lists", ["apt-get", *options, "update"], log, env=env)
        process.run(report, "installing packages", ["apt-get", *options, "install", *packages], log, env=env)


def _with_backports(scratch, codename):
    parts = os.path.join(scratch, "sources.list.d")
    lists = os.path.join(scratch, "lists")
    shutil.copytree("/etc/apt/sources.list.d", parts)
    os.makedirs(os.path.join(lists, "partial"))
    # apt reads package lists as its own user.
    for folder in (scratch, parts, lists):
        os.chmod(folder, 0o755)
    with open(os.path.join(parts, "vfiod-lab.list"), "w") as file:
        file.write(apt.lines([f"{codename}-backports"]))
    with open(os.path.join(scratch, "preferences"), "w") as file:
        file.write(f"Package: qemu-* seabios\nPin: release n={codename}-backports\nPin-Priority: 990\n")
    return [
        "-o",
        f"Dir::Etc::SourceParts={parts}",
        "-o",
        f"Dir::State::Lists={lists}",
        "-o",
        f"Dir::Etc::Preferences={scratch}/preferences",
    ]
