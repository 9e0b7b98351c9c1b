"""No process of vfiod runs per interrupt: after set-up the system calls do not grow with the interrupts.

Counted twice. The kernel's own event histogram slows nobody down, so the two runs differ in their interrupts alone. strace
is what a user would take; it makes a raise forty times as slow, and what runs by the clock shows.
"""

import collections
import re
import signal
import subprocess
import time
from dataclasses import dataclass

from client import Connection, bind, restore
from harness import Failure, cleanup, expect, test
from machine import EDU, service_pid, write

TRACING = "/sys/kernel/tracing"
TRIGGER = f"{TRACING}/events/raw_syscalls/sys_enter/trigger"
STRACE_LINE = re.compile(r"^(\d+) +(\w+)\(")
HISTOGRAM_LINE = re.compile(r"common_pid: +(\d+), id: (\w+) .*hitcount: +(\d+)")
FEW = 1_000


@dataclass
class Counts:
    """System calls per thread, of vfiod and all its children, and how long they were counted."""

    by_thread: dict
    seconds: float

    def split(self, count):
        """(the threads that raise, the rest): raising is at least one system call for each interrupt."""
        raising = [calls for calls in self.by_thread.values() if max(calls.values()) >= count]
        rest = sum((calls for calls in self.by_thread.values() if max(calls.values()) < count), collections.Counter())
        return raising, rest


def self_test(count):
    # Without `more`: progress is told by the clock.
    begun = time.monotonic()
    with Connection(timeout=800) as connection:
        reply = connection.call("io.vfiod.SelfTest", device=EDU, type="msi", count=count)
    by_edu = [report for report in reply["reports"] if report["raisedBy"] == "device"]
    expect(reply["passed"] and by_edu[0]["delivered"] == count, f"{count} interrupts: {reply}")
    return time.monotonic() - begun


def threads_of(pid):
    return subprocess.run(["ls", f"/proc/{pid}/task"], capture_output=True, text=True).stdout.split()


def count_by_kernel(count):
    write(f"{TRACING}/options/event-fork", "1")
    cleanup(write, f"{TRACING}/options/event-fork", "0")
    write(f"{TRACING}/set_event_pid", " ".join(threads_of(service_pid())))
    cleanup(write, f"{TRACING}/set_event_pid", "\n")
    histogram = "hist:keys=common_pid,id.syscall:size=4096"
    write(TRIGGER, histogram)
    try:
        seconds = self_test(count)
        with open(f"{TRACING}/events/raw_syscalls/sys_enter/hist") as file:
            text = file.read()
    finally:
        write(TRIGGER, "!" + histogram)
    calls = collections.defaultdict(collections.Counter)
    for thread, name, hits in HISTOGRAM_LINE.findall(text):
        calls[thread][name] += int(hits)
    return Counts(calls, seconds)


def count_by_strace(count):
    log = f"/run/strace.{count}"
    strace = subprocess.Popen(
        ["strace", "-f", "-qq", "-o", log, "-p", str(service_pid())], stderr=subprocess.PIPE, text=True
    )
    cleanup(strace.kill)
    time.sleep(2)  # All threads attached; strace says so only on a terminal.
    try:
        seconds = self_test(count)
    finally:
        strace.send_signal(signal.SIGINT)
        strace.wait(30)
    calls = collections.defaultdict(collections.Counter)
    with open(log) as file:
        for line in file:
            if match := STRACE_LINE.match(line):
                calls[match.group(1)][match.group(2)] += 1
    return Counts(calls, seconds)


def compare(counted, most, calls_per_second):
    """Fails if calls grow with interrupts, beyond what a timer's calls are in the time the longer run takes more."""
    bind(EDU)
    few, many = counted(FEW), counted(most)
    restore(EDU)
    few_raising, few_rest = few.split(FEW)
    many_raising, many_rest = many.split(most)
    expect(few_raising and many_raising, "nobody seems to raise interrupts: the count is wrong")
    more = max(0.0, many.seconds - few.seconds)
    print(
        f"  calls beside the raising thread's: {few_rest.total()} for {FEW:,} interrupts in {few.seconds:.0f} s, "
        f"{many_rest.total()} for {most:,} in {many.seconds:.0f} s",
        flush=True,
    )
    for count, raising in ((FEW, few_raising), (most, many_raising)):
        expect(len(raising) == 1, f"{len(raising)} threads work per interrupt at {count}: {[dict(c) for c in raising]}")
    allowed = 300 + more * calls_per_second
    expect(allowed < (most - FEW) / 2, f"{more:.0f} s are too long to tell interrupts from the clock")
    if many_rest.total() - few_rest.total() > allowed:
        grown = dict((many_rest - few_rest).most_common(5))
        raise Failure(f"{few_rest.total()} calls for {FEW}, {many_rest.total()} for {most} interrupts: {grown}")


@test(deadline=300)
def do_not_grow_with_interrupts():
    compare(count_by_kernel, 10_000, 10)


@test(deadline=600)
def do_not_grow_under_strace():
    # A call for each of 2,000 interrupts shows as well as for each of 9,000, and a fifth as long.
    compare(count_by_strace, 3_000, 8)
