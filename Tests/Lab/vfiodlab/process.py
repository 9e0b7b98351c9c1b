"""Child processes that never outlive the lab, with their output in a log and its last line on the screen."""

import ctypes
import os
import signal
import subprocess

from .report import LabError

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(signal_number=signal.SIGKILL):
    """For preexec_fn: should the lab itself be killed, the kernel sends the child this signal."""

    def prepare():
        _libc.prctl(PR_SET_PDEATHSIG, signal_number)

    return prepare


def last_line(path):
    """The last non-empty line of a growing file."""
    try:
        with open(path, "rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - 2000))
            lines = [line.strip() for line in log.read().decode(errors="replace").replace("\r", "\n").split("\n")]
    except OSError:
        return ""
    lines = [line for line in lines if line]
    return lines[-1][-100:] if lines else ""


def tail(path, lines=40):
    try:
        with open(path, errors="replace") as log:
            return "".join(log.readlines()[-lines:]).rstrip()
    except OSError:
        return ""


def end_group(process, grace=5.0):
    """Ends a child and everything it started: each child of ours leads a process group of its own."""
    for number, wait in ((signal.SIGTERM, grace), (signal.SIGKILL, grace)):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            pass
        try:
            process.wait(wait)
        except subprocess.TimeoutExpired:
            continue
        if number == signal.SIGKILL or not _group_alive(process.pid):
            return


def _group_alive(group):
    try:
        os.killpg(group, 0)
        return True
    except ProcessLookupError:
        return False


def run(report, what, argv, log, cwd=None, env=None, deadline=3600):
    """Runs a command with its output in `log`. Fails with the tail of the log."""
    with report.busy(what, lambda: last_line(log)):
        status = run_quietly(argv, log, cwd=cwd, env=env, deadline=deadline)
        if status != 0:
            raise LabError(f"{what}: {argv[0]} ended with status {status}", tail(log))


def run_quietly(argv, log, cwd=None, env=None, deadline=3600):
    with open(log, "ab") as output:
        try:
            process = subprocess.Popen(
                argv,
                cwd=cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,
                preexec_fn=die_with_parent(signal.SIGTERM),
            )
        except OSError as error:
            raise LabError(f"cannot run {argv[0]}: {error.strerror}") from None
        try:
            return process.wait(deadline)
        except subprocess.TimeoutExpired:
            raise LabError(f"{argv[0]} did not end within {deadline} s", tail(log)) from None
        finally:
            if process.poll() is None:
                end_group(process)
