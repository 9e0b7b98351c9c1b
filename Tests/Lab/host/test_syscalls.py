"""No process of vfiod runs per interrupt: after set-up the system calls do not grow with the interrupts."""

import collections
import re
import signal
import subprocess
import time

from client import Connection, bind, restore
from harness import Failure, cleanup, expect, test
from machine import EDU, service_pid

LINE = re.compile(r"^(\d+) +(\w+)\(")


def trace(count):
    """System calls per thread, of vfiod and all its children, during one self-test with `count` interrupts by edu."""
    log = f"/run/strace.{count}"
    strace = subprocess.Popen(
        ["strace", "-f", "-qq", "-o", log, "-p", str(service_pid())], stderr=subprocess.PIPE, text=True
    )
    cleanup(strace.kill)
    time.sleep(2)  # All threads attached; strace says so only on a terminal.
    try:
        # Without `more`: progress is told by the clock, and strace makes the longer run very much longer.
        with Connection(timeout=500) as connection:
            reply = connection.call("io.vfiod.SelfTest", device=EDU, type="msi", count=count)
    finally:
        strace.send_signal(signal.SIGINT)
        strace.wait(30)
    by_edu = [report for report in reply["reports"] if report["raisedBy"] == "device"]
    expect(reply["passed"] and by_edu[0]["delivered"] == count, f"{count} under strace: {reply}")
    calls = collections.defaultdict(collections.Counter)
    with open(log) as file:
        for line in file:
            if match := LINE.match(line):
                calls[match.group(1)][match.group(2)] += 1
    return calls


def split(calls, count):
    """(the threads that raise, the rest): raising is at least one system call for each interrupt."""
    raising = {thread: counter for thread, counter in calls.items() if max(counter.values()) >= count}
    rest = collections.Counter()
    for thread, counter in calls.items():
        if thread not in raising:
            rest += counter
    return raising, rest


@test(deadline=600)
def do_not_grow_with_interrupts():
    bind(EDU)
    small_raising, small = split(trace(1_000), 1_000)
    large_raising, large = split(trace(10_000), 10_000)
    restore(EDU)
    print(f"  1,000 interrupts: {small.total()} calls beside the raising thread's; 10,000: {large.total()}", flush=True)
    for count, raising in ((1_000, small_raising), (10_000, large_raising)):
        expect(
            len(raising) <= 1,
            f"{len(raising)} threads work per interrupt at {count}: "
            + "; ".join(str(dict(counter)) for counter in raising.values()),
        )
    # Timers and the strace itself make a few calls come and go; 9,000 more interrupts would make thousands.
    if large.total() > small.total() + 500:
        grown = large - small
        raise Failure(
            f"{small.total()} calls for 1,000 interrupts, {large.total()} for 10,000: {dict(grown.most_common(5))}"
        )
