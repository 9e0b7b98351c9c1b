"""Builds vfiod and stages what the host gets from this repository."""

import os
import pathlib
import shutil
import subprocess

from . import cache, process
from .packages import tool
from .report import LabError

EXECUTABLES = ("vfiod", "vfioctl", "vfiod-claim", "vfiod-selftest-guest")
SWIFT_BUILD = (
    "swift",
    "build",
    "-c",
    "release",
    "--static-swift-stdlib",
    "--explicit-target-dependency-import-check",
    "error",
)


def _output(argv):
    return subprocess.run(argv, cwd=cache.REPOSITORY, capture_output=True, text=True, check=True).stdout.strip()


def executables(report, folder):
    """The stripped release executables, in `folder`/binaries."""
    process.run(report, "building vfiod", SWIFT_BUILD, folder / "swift-build.log", cwd=cache.REPOSITORY)
    built = pathlib.Path(_output([*SWIFT_BUILD, "--show-bin-path"]))
    binaries = folder / "binaries"
    binaries.mkdir()
    for name in EXECUTABLES:
        process.run_quietly([tool("strip"), "-o", binaries / name, built / name], folder / "strip.log")
        if not (binaries / name).exists():
            raise LabError(f"{name} was not built", process.tail(folder / "strip.log"))
    return binaries


def payload(report, folder, with_vfiod=True, extra=None):
    """What the host gets: vfiod as a user would have it, the host side of the lab, and `extra` ({name: path})."""
    tree = folder / "payload"
    tree.mkdir()
    shutil.copytree(cache.LAB / "host", tree / "lab", ignore=shutil.ignore_patterns("__pycache__"))
    if with_vfiod:
        vfiod = tree / "vfiod"
        vfiod.mkdir()
        shutil.move(executables(report, folder), vfiod / "binaries")
        for name in ("systemd", "configs"):
            if (cache.REPOSITORY / name).exists():
                shutil.copytree(cache.REPOSITORY / name, vfiod / name)
    for name, source in (extra or {}).items():
        target = tree / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if os.path.isdir(source) else shutil.copy)(source, target)
    if with_vfiod and (tree / "swift-tests").exists():
        # The tests of the guest's process start the executable that is beside them.
        shutil.copy(tree / "vfiod" / "binaries" / "vfiod-selftest-guest", tree / "swift-tests")
    return tree


def disk(report, folder, tree):
    size = sum(path.stat().st_size for path in tree.rglob("*") if path.is_file())
    image = folder / "payload.img"
    process.run(
        report,
        "making the payload disk",
        [
            tool("mke2fs"),
            "-q",
            "-t",
            "ext4",
            "-L",
            "payload",
            "-E",
            "root_owner=0:0",
            "-d",
            tree,
            "-O",
            "^has_journal",
            image,
            f"{size // 1024 * 5 // 4 + 16384}k",
        ],
        folder / "mke2fs.log",
    )
    return image
