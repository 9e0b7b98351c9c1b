"""A test runner small enough to read: named tests, a deadline each, and one line of result as each ends.

A test is a function with @test; its name is FILE.FUNCTION with dashes, such as `refusals.root-disk`. It fails by any
exception. What it changes it undoes with `cleanup`; devices that it leaves bound are given back for it.
"""

import importlib
import pathlib
import signal
import sys
import time
import traceback
from dataclasses import dataclass

FOLDER = pathlib.Path(__file__).parent


class Failure(Exception):
    pass


class OutOfTime(BaseException):
    """Not an Exception: a test that waits in a loop and ignores errors must not swallow its own deadline."""


@dataclass(frozen=True)
class Test:
    name: str
    body: object
    levels: tuple
    deadline: float


TESTS = []
_cleanups = []


def test(levels=("host",), deadline=60.0):
    def register(function):
        theme = function.__module__.removeprefix("test_").replace("_", "-")
        TESTS.append(Test(f"{theme}.{function.__name__.replace('_', '-')}", function, tuple(levels), deadline))
        return function

    return register


def cleanup(action, *arguments):
    """Runs after the test, last registered first."""
    _cleanups.append((action, arguments))


def expect(condition, message):
    if not condition:
        raise Failure(message)


def expect_equal(found, wanted, what):
    if found != wanted:
        raise Failure(f"{what}: {found!r}, should be {wanted!r}")


def wait_until(condition, seconds, what):
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise Failure(f"not within {seconds} s: {what}")
        time.sleep(0.05)
    return value


def load():
    sys.path.insert(0, str(FOLDER))
    for path in sorted(FOLDER.glob("test_*.py")):
        importlib.import_module(path.stem)
    return TESTS


def run(tests):
    """Runs them in order; True if all passed."""
    signal.signal(signal.SIGALRM, _out_of_time)
    passed = True
    # A kept machine may still have what an interrupted run left bound.
    _attempt(_give_back, 90)
    for one in tests:
        begun = time.monotonic()
        reason = _attempt(one.body, one.deadline)
        # Undoing has a deadline of its own, so that one stuck device does not take the other tests with it.
        for action in (undo, _give_back):
            trouble = _attempt(action, 90)
            reason = reason or trouble
        if reason:
            # A vfiod that this test left dead is its failure, not that of all that come after it.
            _attempt(_revive, 90)
        took = time.monotonic() - begun
        passed = passed and reason is None
        print(f"ok {one.name} {took:.1f} s" if reason is None else f"FAILED {one.name}: {reason}", flush=True)
    return passed


def _attempt(action, deadline):
    signal.setitimer(signal.ITIMER_REAL, deadline)
    try:
        action()
        return None
    except OutOfTime:
        return f"not done within {deadline:.0f} s, at {_place(sys.exc_info()[2])}"
    except Failure as failure:
        return str(failure).replace("\n", " | ")
    except Exception as error:  # Whatever it is, the other tests must still run.
        return f"{type(error).__name__}: {error} at {_place(error.__traceback__)}".replace("\n", " | ")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _place(trace):
    ours = [frame for frame in traceback.extract_tb(trace) if frame.filename.startswith(str(FOLDER))]
    frame = (ours or traceback.extract_tb(trace))[-1]
    return f"{pathlib.Path(frame.filename).name}:{frame.lineno}"


def _out_of_time(*_):
    raise OutOfTime()


def undo():
    failures = []
    while _cleanups:
        action, arguments = _cleanups.pop()
        try:
            action(*arguments)
        except Exception as error:
            failures.append(f"{type(error).__name__}: {error}")
    if failures:
        raise Failure("undoing the test: " + "; ".join(failures))


def _revive():
    from machine import run

    units = ("vfiod.socket", "vfiod.service")
    if any(run("systemctl", "is-active", "--quiet", unit).returncode != 0 for unit in units):
        run("systemctl", "reset-failed", *units)
        run("systemctl", "start", *units)
        _give_back()


def _give_back():
    from client import give_back_all

    left = give_back_all()
    if left:
        raise Failure("left bound: " + ", ".join(left))
