"""`lab test`: the levels, in the order of what they cost."""

import shutil

from . import build, cache, claims, expected, host, host_tests, kept, own_tests, packages, power, process, swift_tests
from .channel import ChannelClosed
from .report import LabError
from .variant import Variant, of_options

# The hosts that are booted: the level's name is also that of its lists in expected/, LEVEL.txt for the host's own tests
# and LEVEL-swift.txt for unit tests that run in the host.
HOSTS = {
    "host": Variant(),
    "no-iommu": Variant(iommu=False),
    "no-intremap": Variant(intremap=False),
    "kernel-6.1": Variant(kernel="6.1"),
    "kernel-6.1-no-intremap": Variant(kernel="6.1", intremap=False),
    "kernel-backports": Variant(kernel="backports"),
    "kernel-backports-no-intremap": Variant(kernel="backports", intremap=False),
}


def test(report, options):
    packages.ensure(report)
    tally = expected.Tally(report, options.filter)
    with cache.run_folder() as folder:
        # A kept machine is for a developer who works on what runs in it.
        if not (options.keep or options.update):
            if tally.wants_any("lab", expected.read("lab")):
                tally.settle("lab", expected.read("lab"), own_tests.run())
            _format(report, tally, folder)
            for sanitizer in ("", "thread", "address"):
                _unit(report, tally, folder, sanitizer)
            _units(report, tally, folder)
            _benchmarks(report, tally, folder)
        payload = _hosts(report, tally, folder, options)
        if not (options.keep or options.update):
            power.run(report, tally, folder, payload)
            claims.run(report, tally, folder, payload)
    return tally.close()


def _format(report, tally, folder):
    level = "format"
    if tally.wants(level, "swift format"):
        tally.check(
            level,
            "swift format",
            lambda: process.run(
                report,
                "swift format lint",
                [
                    "swift",
                    "format",
                    "lint",
                    "--strict",
                    "--recursive",
                    "--parallel",
                    "Sources",
                    "Tests",
                    "Benchmarks",
                    "Package.swift",
                ],
                folder / "format.log",
                cwd=cache.REPOSITORY,
            ),
        )


def _unit(report, tally, folder, sanitizer):
    level = f"unit-{sanitizer}" if sanitizer else "unit"
    tests = expected.read("unit")
    selected = tally.selected(level, tests)
    if not tally.wants_any(level, tests):
        return
    log = folder / f"{level}.log"
    try:
        swift_tests.build(report, sanitizer, log)
    except LabError as error:
        tally.fail(level, "build", str(error))
        report.plain(error.details)
        return
    names = [test.name for test in selected] if tally.pattern else None
    results = swift_tests.run(report, sanitizer, log, folder / f"{level}.events", names)
    tally.settle(level, tests, results)


def _units(report, tally, folder):
    """systemd-analyze verify, with the executables of the units where the units say they are."""
    level, name = "units", "systemd-analyze verify"
    if not tally.wants(level, name):
        return

    def verify():
        root = folder / "verify-root"
        binaries = root / "binaries"
        binaries.mkdir(parents=True)
        # Ours refer to systemd's own units.
        shutil.copytree("/usr/lib/systemd/system", root / "usr/lib/systemd/system", symlinks=True)
        for executable in build.EXECUTABLES:
            (binaries / executable).write_text("#!/bin/sh\n")
            (binaries / executable).chmod(0o755)
        log = folder / "verify.log"
        process.run(
            report,
            "installing the units",
            ["systemd/install", "--binaries", binaries, "--destdir", root],
            log,
            cwd=cache.REPOSITORY,
        )
        units = sorted(str(p) for p in (root / "usr/lib/systemd/system").glob("vfiod*"))
        if not units:
            raise LabError("systemd/install installed no unit")
        process.run(
            report,
            "systemd-analyze verify",
            [
                "systemd-analyze",
                "verify",
                "--man=no",
                "--recursive-errors=no",
                f"--root={root}",
                *(unit.removeprefix(str(root)) for unit in units),
            ],
            log,
        )

    tally.check(level, name, verify)


def _benchmarks(report, tally, folder):
    """What the benchmarks measure, done once: how often the kernel was asked. Their times are for people."""
    level, name = "benchmarks", "requests"
    if tally.wants(level, name):
        argv = ["Benchmarks/run", "--check"]
        tally.check(
            level,
            name,
            lambda: process.run(
                report, "the benchmarks' requests", argv, folder / "benchmarks.log", cwd=cache.REPOSITORY
            ),
        )


def _hosts(report, tally, folder, options):
    """Returns the payload, if one was made."""
    kept_variant = of_options(options) if options.keep or options.update else None
    extra, payload = {}, None
    for level, variant in HOSTS.items():
        tests = tally.selected(level, expected.read(level))
        in_swift = tally.selected(level, expected.read(f"{level}-swift"))
        if not tests and not in_swift or kept_variant and kept_variant != variant:
            continue
        try:
            if not kept_variant:
                # One payload for all hosts, and the first needs it: a filter may leave it without Swift tests.
                in_any = any(tally.selected(other, expected.read(f"{other}-swift")) for other in HOSTS)
            if (in_swift if kept_variant else in_any) and not extra:
                # With the unit level the executable has been built; the sanitizers' builds must not make it old.
                if not (folder / "unit.log").exists():
                    swift_tests.build(report, "", folder / "unit.log")
                extra["swift-tests"] = swift_tests.stage_test_binary(folder)
            kinds = [(host_tests.swift, in_swift), (host_tests.python, tests)]
            left = [(run, its_tests) for run, its_tests in kinds if its_tests]
            if kept_variant:
                with kept.machine(report, variant, update=options.update, extra=extra) as channel:
                    _run_in(report, tally, level, channel, left)
            else:
                payload = payload or build.payload(report, folder, extra=extra)
                _in_host(report, tally, level, variant, payload, left)
        except LabError as error:
            tally.fail(level, "the host", str(error))
            report.plain(error.details)
    return payload


def _in_host(report, tally, level, variant, payload, left):
    try:
        with host.booted(report, variant, payload=payload) as running:
            _run_in(report, tally, level, running.channel, left)
    except ChannelClosed as error:
        # The host's processors are software, which now and then makes an interrupt of nothing and with it ends a kernel.
        # What ends a host because of what ran in it does so again.
        tally.lost_host(level, str(error))
        report.plain(error.details)
        with host.booted(report, variant, payload=payload) as running:
            _run_in(report, tally, level, running.channel, left)


def _run_in(report, tally, level, channel, left):
    """Runs what is left, and takes from it what was run to its end."""
    while left:
        run, tests = left[0]
        run(report, tally, level, channel, tests)
        left.pop(0)
