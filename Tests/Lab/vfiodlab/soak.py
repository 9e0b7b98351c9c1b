"""`lab soak`: what is short in every run, as long as it takes to find what is rare."""

import os
import re

from . import build, cache, expected, host, host_tests, kept, packages, swift_tests
from .report import LabError
from .variant import of_options
from .verbs import forward

ROUNDS = "rounds of Bind, self-test and Restore"
# The tests whose worth grows with their length.
LONG = re.compile(r"InterruptLabTests\.(RaceTests|ModeRaceTests|LineTests|SoakTests)/")


def soak(report, options):
    """The long tests on this machine's KVM and in the host, then vfiod itself: Bind, self-test and Restore."""
    packages.ensure(report)
    tally = expected.Tally(report, options.filter)
    lengths = {
        "VFIOD_RACE_SECONDS": str(options.seconds),
        "VFIOD_CYCLES": str(options.cycles),
        "VFIOD_WINDOW_CYCLES": str(max(1, options.cycles // 200)),
        "VFIOD_LEVEL_CYCLES": str(options.cycles),
    }
    # Races take their time for each stand; the rest is given as much again.
    deadline = 3600 + 60 * options.seconds + options.cycles
    here = [test for test in _long(tally, "kvm", "unit") if test.need != "lab"]
    tests = _long(tally, "host", "host-swift")
    with cache.run_folder() as folder:
        extra = {}
        if here or tests:
            swift_tests.build(report, "", folder / "unit.log")
        if here:
            _here(report, tally, folder, here, lengths, deadline)
        if tests:
            extra["swift-tests"] = swift_tests.stage_test_binary(folder)
        if not tests and not tally.wants("host", ROUNDS):
            return tally.close()
        if options.keep or options.update:
            with kept.machine(report, of_options(options), update=options.update, extra=extra) as channel:
                _in_host(report, tally, options, channel, tests, lengths, deadline)
        else:
            payload = build.payload(report, folder, extra=extra)
            with host.booted(report, of_options(options), payload=payload) as machine:
                _in_host(report, tally, options, machine.channel, tests, lengths, deadline)
    report.say(f"all of it: {report.elapsed():.1f} s")
    return tally.close()


def _long(tally, level, listed):
    return tally.selected(level, [test for test in expected.read(listed) if LONG.search(test.name)])


def _here(report, tally, folder, tests, lengths, deadline):
    """On this machine's own KVM, which is faster by far and another race."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        report.say("this machine has no KVM: only in the host")
        return
    log, events = folder / "soak.log", folder / "soak.events"
    names = [test.name for test in tests]
    results = swift_tests.run(report, "", log, events, names, env=lengths, deadline=deadline)
    tally.settle("kvm", tests, results)


def _in_host(report, tally, options, channel, tests, lengths, deadline):
    if tests:
        host_tests.swift(report, tally, "host", channel, tests, env=lengths, deadline=deadline)

    def rounds():
        argv = ["python3", "-B", "-u", "/run/payload/lab/soak.py", str(options.rounds)]
        if channel.run(argv, forward, deadline=600 * options.rounds) != 0:
            raise LabError("something adds up, or a device was not given back")

    if options.rounds:
        tally.check("host", ROUNDS, rounds)
