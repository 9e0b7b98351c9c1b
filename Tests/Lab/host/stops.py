"""vfiod stopped at the points between the steps of its operations; see StopRequest.swift."""

import json
import pathlib
import re

from client import CallError, call
from harness import Failure, cleanup, expect, expect_equal, wait_until
from machine import run, service_pid, write

FOLDER = pathlib.Path("/run/systemd/system/vfiod.service.d")
REQUEST = pathlib.Path("/run/vfiod-stop")
STATE = pathlib.Path("/var/lib/vfiod")
RECORDS = pathlib.Path("/run/vfiod-records")

# The request is read whenever vfiod starts, and the records are kept as each start finds them.
DROP_IN = f"""[Service]
EnvironmentFile=-{REQUEST}
RestartSec=0
ExecStartPre=+/bin/sh -c 'rm -rf {RECORDS}; cp -a {STATE} {RECORDS}'
"""


def allow():
    """Lets vfiod be stopped, until the test ends."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "stops.conf").write_text(DROP_IN)
    cleanup(forbid)
    systemctl("daemon-reload")


def forbid():
    REQUEST.unlink(missing_ok=True)
    (FOLDER / "stops.conf").unlink(missing_ok=True)
    systemctl("daemon-reload")
    systemctl("restart", "vfiod.service")


def systemctl(*arguments):
    result = run("systemctl", *arguments)
    expect_equal((result.returncode, result.stderr), (0, ""), f"systemctl {' '.join(arguments)}")


def restart(at, by="kill"):
    """A new vfiod with a request. The next one will have none."""
    write(REQUEST, f"VFIOD_STOP_AT={at}\nVFIOD_STOP_BY={by}\n")
    systemctl("restart", "vfiod.service")
    REQUEST.unlink()


def killed(pid):
    """Waits until another vfiod than `pid` answers, and has ended what it took up."""
    wait_until(lambda: service_pid() not in (0, pid), 30, "systemd starts vfiod again")
    wait_until(
        lambda: all(device["state"] != "busy" for device in call("List")["devices"]), 60, "the new vfiod is at rest"
    )


def points_of(perform):
    """The points that vfiod comes to when nothing stops it there, each once."""
    restart("none")
    since = cursor()
    perform()
    return list(dict.fromkeys(points(journal(since))))


def kill_at(point, perform):
    """vfiod killed at a point of what `perform` calls. Returns the records that the next one found, and the journal."""
    restart(point)
    pid, since = service_pid(), cursor()
    try:
        perform()
        raise Failure("vfiod was not killed")
    except CallError as error:
        raise Failure(f"vfiod answered {error}") from None
    except ConnectionError:
        pass
    killed(pid)
    lines = journal(since)
    expect_equal(points(lines)[-1:], [point], "last stop point")
    expect(any("code=killed, status=9/KILL" in line for line in lines), f"no SIGKILL in the journal: {lines}")
    return records(), lines


def expect_said(ends, lines):
    expect_equal([end for end in ends if end not in lines], [], f"what the journal does not say ({lines})")


def records():
    """What the vfiod that runs found in its log, by device."""
    return {path.stem: json.loads(path.read_text()) for path in RECORDS.glob("*.json")}


def cursor():
    return re.search(r"cursor: (\S+)", run("journalctl", "-n", "0", "--show-cursor").stdout).group(1)


def journal(since):
    run("journalctl", "--sync")
    return run("journalctl", "-u", "vfiod", "-o", "cat", "--after-cursor", since).stdout.splitlines()


def points(lines):
    """The stop points that vfiod came to, in order."""
    return [line.removeprefix("stop point ") for line in lines if line.startswith("stop point ")]
