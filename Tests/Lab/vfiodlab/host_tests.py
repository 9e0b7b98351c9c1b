"""Runs tests in a host that is up: unit tests against its kernel, and the host's own tests."""

import re

from . import expected, swift_tests
from .report import LabError

RESULT = re.compile(r"^(ok|FAILED) (\S+?):? (.*)$")
# What Swift Testing prints when a test has ended, without its colours.
SWIFT_RESULT = re.compile(r"\x1b\[[0-9;]*m")
EVENTS = "/run/swift-tests.events"


def _by_line(take):
    """A receiver of a command's output that gives `take` one line after the other."""
    buffered = [b""]

    def receive(_, data):
        *lines, buffered[0] = (buffered[0] + data).split(b"\n")
        for line in lines:
            take(line.decode(errors="replace"))

    return receive


def swift(report, tally, level, channel, tests, env=None, deadline=900):
    """The unit tests that need a kernel's VFIO or KVM, against the host's."""
    report.say(f"{len(tests)} Swift tests in the host ({level})")
    names = [test.name for test in tests]
    lines = []

    def show(line):
        lines.append(line)
        text = SWIFT_RESULT.sub("", line)
        if text.startswith(("\u2714 Test ", "\u2718 Test ")):
            report.say("  " + text)

    argv = [
        "python3",
        "-B",
        "/run/payload/lab/swift_tests.py",
        "--event-stream-output-path",
        EVENTS,
        "--event-stream-version",
        "0",
        "--no-parallel",
        "--filter",
        swift_tests.filter_for(names),
    ]
    try:
        status = channel.run(argv, _by_line(show), deadline=deadline, env=env)
    except LabError as error:
        # The tests run one at a time, so that the last line names the one that hangs.
        raise type(error)(str(error), "\n".join([error.details, *lines[-20:]])) from None
    _, stream = channel.capture(["cat", EVENTS])
    results = swift_tests.read_events(stream)
    swift_tests.blame_process(results, status, "\n".join(lines[-60:]))
    tally.settle(level, [expected.Expected(name) for name in names], results)


def python(report, tally, level, channel, tests):
    """The host's own tests."""
    report.say(f"{len(tests)} tests in the host ({level})")
    results = {}

    def show(line):
        report.say("  " + line)
        if match := RESULT.match(line):
            results[match.group(2)] = None if match.group(1) == "ok" else match.group(3)

    argv = ["python3", "-B", "-u", "/run/payload/lab/run_tests.py", "--level", level]
    if tally.pattern:
        argv += ["--only", *(test.name for test in tests)]
    # Each test has a deadline of its own; this one only notices a runner that is gone.
    status = channel.run(argv, _by_line(show), deadline=3000)
    if status not in (0, 1):
        results["the runner"] = f"ended with status {status}"
    tally.settle(level, [expected.Expected(test.name) for test in tests], results)
