"""Swift Testing: runs `swift test`, reads its event stream, stages the test binary for the host."""

import json
import os
import pathlib
import re
import shutil
import subprocess

from . import cache, process
from .packages import tool
from .report import LabError

IMPORT_CHECK = ("--explicit-target-dependency-import-check", "error")
# Where each build lives: with paths of their own the three builds keep each other's results.
SCRATCH = {"": ".build", "thread": ".build/lab/thread", "address": ".build/lab/address"}

# A test's id ends in the place where it is written, which says nothing about which test it is.
_LOCATION = re.compile(r"/[^/]+\.swift:\d+:\d+$")


def _arguments(sanitizer):
    scratch = ["--scratch-path", SCRATCH[sanitizer]]
    return [*scratch, *IMPORT_CHECK, *([f"--sanitize={sanitizer}"] if sanitizer else [])]


def build(report, sanitizer, log):
    what = "building the unit tests" + (f" with the {sanitizer} sanitizer" if sanitizer else "")
    process.run(report, what, ["swift", "build", "--build-tests", *_arguments(sanitizer)], log, cwd=cache.REPOSITORY)


def run(report, sanitizer, log, events, names=None, env=None, deadline=1200):
    """Runs the unit tests; returns {name: None | reason}."""
    argv = [
        "swift",
        "test",
        "--skip-build",
        "--disable-xctest",
        *_arguments(sanitizer),
        "--event-stream-output-path",
        str(events),
        "--event-stream-version",
        "0",
    ]
    if names is not None:
        argv += ["--filter", filter_for(names)]
    what = "running the unit tests" + (f" with the {sanitizer} sanitizer" if sanitizer else "")
    options = {
        "TSAN_OPTIONS": "halt_on_error=0:exitcode=66",
        "ASAN_OPTIONS": "detect_leaks=0",
        # All at once is the default: hundreds of tests that wait for each other's turn at two processors, each of which
        # then takes as long as all, and meets its own deadlines by luck.
        "SWT_EXPERIMENTAL_MAXIMUM_PARALLELIZATION_WIDTH": "4",
    }
    with report.busy(what, lambda: process.last_line(log)):
        env = {**os.environ, **options, **(env or {})}
        status = process.run_quietly(argv, log, cwd=cache.REPOSITORY, env=env, deadline=deadline)
    results = read_events(pathlib.Path(events).read_text(errors="replace") if os.path.exists(events) else "")
    blame_process(results, status, process.tail(log, 60))
    return results


def blame_process(results, status, output):
    """A crash, or a report of a sanitizer: the process ends with a status that no test accounts for."""
    if status != 0 and all(reason is None or reason.startswith("skipped") for reason in results.values()):
        results["the test process"] = f"ended with status {status}:\n{output}"


def _executable():
    scratch = cache.REPOSITORY / SCRATCH[""]
    bundles = sorted((scratch / "debug").glob("*PackageTests.xctest"))
    if len(bundles) != 1:
        raise LabError(f"no test executable in {scratch / 'debug'}")
    return bundles[0]


def names():
    """All tests of the test executable that was built last."""
    listed = subprocess.run(
        [_executable(), "--testing-library", "swift-testing", "--list-tests"],
        capture_output=True,
        text=True,
        check=True,
    )
    return [line for line in listed.stdout.splitlines() if line.strip()]


def filter_for(names):
    return "^(" + "|".join(re.escape(name) for name in names) + ")(/|$)"


def read_events(text):
    """{test name: None | reason} from an event stream. A test that started and never ended has failed."""
    results, issues = {}, {}
    for line in text.splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        payload = record.get("payload", {})
        if record.get("kind") == "test" and payload.get("kind") == "function":
            results[_name(payload["id"])] = "started and did not end, or did not start"
        elif record.get("kind") == "event" and "testID" in payload:
            name = _name(payload["testID"])
            kind = payload["kind"]
            text_of = "; ".join(m["text"] for m in payload.get("messages", []))
            if kind == "issueRecorded" and not payload.get("issue", {}).get("isKnown"):
                issues.setdefault(name, []).append(text_of)
            elif name not in results:
                continue  # A suite.
            elif kind == "testSkipped":
                results[name] = f"skipped: {text_of}"
            elif kind == "testEnded":
                results[name] = _sum(issues[name]) if name in issues else None
    return results


def _sum(issues):
    return issues[0] + (f" (and {len(issues) - 1} more)" if len(issues) > 1 else "")


def _name(identity):
    return _LOCATION.sub("", identity)


def stage_test_binary(folder):
    """The test executable with the libraries it needs, for a machine without Swift: Testing has no static library.

    Run it with `test-run` beside it, whose arguments go to Swift Testing."""
    executable = _executable()
    stage = pathlib.Path(folder) / "swift-tests"
    libraries = stage / "libraries"
    libraries.mkdir(parents=True)
    subprocess.run([tool("strip"), "--strip-debug", "-o", stage / "tests", executable], check=True)
    swift_runtime = os.path.dirname(os.path.dirname(os.path.realpath(tool("swift"))))
    listed = subprocess.run(["ldd", executable], capture_output=True, text=True, check=True).stdout
    for line in listed.splitlines():
        found = re.search(r"=> (/\S+)", line)
        # glibc and its like are the host's own; only Swift's libraries are missing there.
        if found and os.path.realpath(found.group(1)).startswith(swift_runtime):
            shutil.copy(found.group(1), libraries)
    runner = stage / "test-run"
    runner.write_text(
        '#!/bin/sh\nhere=$(dirname "$0")\n'
        'LD_LIBRARY_PATH="$here/libraries" exec "$here/tests" --testing-library swift-testing "$@"\n'
    )
    runner.chmod(0o755)
    return stage
