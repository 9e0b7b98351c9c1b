"""Lists of expected tests, and the tally of what became of them.

A list in expected/ names every test of a level. A test that is listed and did not run, was skipped, or ran without
being listed, is a failure: a test that silently vanishes must not look like success. A line may end in ` needs=PATH`
or ` needs=lab`: where PATH does not exist, or on any outer machine, the test is named as not run, and counts as
neither; in the lab's host nothing may be skipped.
"""

import os
import re
from dataclasses import dataclass

from . import cache

FOLDER = cache.LAB / "expected"


@dataclass(frozen=True)
class Expected:
    name: str
    need: str = ""

    @property
    def met(self):
        return not self.need or self.need != "lab" and os.path.exists(self.need)


def read(name):
    path = FOLDER / f"{name}.txt"
    if not path.exists():
        return []
    result = []
    for line in path.read_text().splitlines():
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        # Test names may hold spaces; a need is always the last word.
        name, _, need = line.partition(" needs=")
        result.append(Expected(name.strip(), need.strip()))
    return result


class Tally:
    def __init__(self, report, pattern):
        self.report = report
        self.pattern = re.compile(pattern) if pattern else None
        self.passed = 0
        self.failures = []
        self.not_run = []
        self.lost_hosts = []

    def wants(self, level, name):
        """Whether the filter selects this test."""
        return not self.pattern or bool(self.pattern.search(f"{level}/{name}"))

    def selected(self, level, tests):
        return [test for test in tests if self.wants(level, test.name)]

    def wants_any(self, level, tests):
        """Whether a level is to run at all: without a filter even an empty list is, for what it lacks."""
        return not self.pattern or bool(self.selected(level, tests))

    def ok(self, level, name):
        self.passed += 1

    def fail(self, level, name, reason):
        self.failures.append(f"{level}/{name}: {reason}")
        self.report.say(f"  FAILED {level}/{name}: {reason}")

    def settle(self, level, tests, results):
        """Compares what a level was to run with `results`: {name: None | reason of the failure | "skipped"}."""
        listed = {test.name: test for test in tests}
        passed, failed = self.passed, len(self.failures)
        for name, reason in sorted(results.items()):
            test = listed.get(name)
            if test is None:
                # Not a test at all: the process that ran them says what became of it.
                if name.startswith("the "):
                    self.fail(level, name, reason)
                elif self.wants(level, name):
                    self.fail(level, name, "ran, but is not in the list of expected tests")
            elif not self.wants(level, name):
                continue
            elif reason is None:
                self.ok(level, name)
            elif reason.startswith("skipped") and not test.met:
                self._not_run(level, test)
            else:
                self.fail(level, name, reason)
        for test in self.selected(level, tests):
            if test.name in results:
                continue
            if test.met:
                self.fail(level, test.name, "did not run")
            else:
                self._not_run(level, test)
        self.report.say(f"{level}: {self.passed - passed} passed, {len(self.failures) - failed} failed")

    def _not_run(self, level, test):
        self.not_run.append(test.name)
        self.report.say(f"  not run here: {level}/{test.name} (needs {test.need})")

    def lost_host(self, level, reason):
        """A host that is booted again: no failure, and not kept quiet."""
        self.lost_hosts.append(f"{level}: {reason}")
        self.report.say(f"  {level}: {reason}; once more")

    def check(self, level, name, action):
        """One test that is a check of the lab's own: `action` raises LabError where it fails."""
        from .report import LabError

        if not self.wants(level, name):
            return
        try:
            action()
            self.ok(level, name)
        except LabError as error:
            self.fail(level, name, str(error))
            if error.details:
                self.report.plain(error.details)

    def close(self):
        for title, lines in (("booted a second time", self.lost_hosts), ("failed", self.failures)):
            if lines:
                self.report.plain(f"\n{title}:")
                for line in lines:
                    self.report.plain("  " + line.split("\n")[0])
        # The one line that says it; CI reads it.
        self.report.plain(f"\n{self.passed} passed, {len(self.failures)} failed")
        return 0 if not self.failures and self.passed else 1
