"""`lab list`: the tests that there are, beside the lists of those that must be."""

import subprocess
import sys

from . import cache, claims, expected, own_tests, power, swift_tests
from .report import LabError
from .test_levels import HOSTS


def _host_tests(level):
    found = subprocess.run(
        [sys.executable, "-B", cache.LAB / "host" / "run_tests.py", "--level", level, "--list"],
        capture_output=True,
        text=True,
        check=True,
    )
    return [line for line in found.stdout.splitlines() if line]


def _unit_tests(report):
    with cache.run_folder() as folder:
        swift_tests.build(report, "", folder / "unit.log")
    return swift_tests.names()


def list_tests(report, options):
    """Prints what was added and removed since the lists were written; with --write brings the lists up to date."""
    found = {level: _host_tests(level) for level in HOSTS}
    found |= {"lab": own_tests.names(), power.LEVEL: list(power.TESTS), claims.LEVEL: list(claims.TESTS)}
    if not options.host:
        found["unit"] = _unit_tests(report)
    changes = 0
    if "unit" in found:
        # They are chosen by hand, from those that there are.
        for level in HOSTS:
            for test in expected.read(f"{level}-swift"):
                if test.name not in found["unit"]:
                    report.plain(f"{level}-swift: listed, but gone: {test.name}")
                    changes += 1
    for level, names in found.items():
        listed = {test.name: test for test in expected.read(level)}
        for name in sorted(set(names) - set(listed)):
            report.plain(f"{level}: not listed: {name}")
            changes += 1
        for name in sorted(set(listed) - set(names)):
            report.plain(f"{level}: listed, but gone: {name}")
            changes += 1
        if options.write:
            _write(level, names, listed)
    if changes and not options.write:
        raise LabError(
            f"{changes} differences; `lab list --write` takes them over, and the change to the list is then yours"
        )
    return 0


def _write(level, names, listed):
    path = expected.FOLDER / f"{level}.txt"
    if not names and not path.exists():
        return
    heading = [line for line in path.read_text().splitlines() if line.startswith("#")] if path.exists() else []
    lines = []
    for name in sorted(names):
        need = listed[name].need if name in listed else ""
        lines.append(f"{name} needs={need}" if need else name)
    path.write_text("\n".join([*heading, *lines]) + "\n")
