#!/usr/bin/env python3
"""The host's side of the level `power`: what is under way when the power goes, and what is there when it is back.

power.py settings       what Restore has to put back, of every device, as JSON
power.py half-way       brings devices into the middle of Bind and of Restore, and binds one; ends once they are there
power.py bound          binds devices
power.py log            what vfiod said of the records that it found at its start, and the files it has now, as JSON
"""

import json
import subprocess
import sys

import stops
from client import bind
from harness import wait_until
from machine import E1000E, EDU, IGB, SHARED_EDU, SIBLING, XHCI, driver, run, snapshot_all

CONSENT = {
    E1000E: ["network-address"],
    SHARED_EDU: [f"iommu-group-sibling-in-use={SIBLING}", f"network-address={SIBLING}"],
}

# What is under way, and where it is when the power goes.
HALF_WAY = {
    f"bind:unbind:after@{XHCI}": ("bind", XHCI),
    f"bind:probe:after@{SIBLING}": ("bind", SHARED_EDU),
    f"restore:unbind:after@{IGB}": ("restore", IGB),
    f"restore:probe:after@{E1000E}": ("restore", E1000E),
}


def half_way():
    for address in (EDU, *(address for operation, address in HALF_WAY.values() if operation == "restore")):
        bind(address, consent=CONSENT.get(address))
    stops.allow()
    stops.restart(",".join(HALF_WAY), by="hang")
    since = stops.cursor()
    for operation, address in HALF_WAY.values():
        consent = [word for code in CONSENT.get(address, ()) for word in ("--consent", code)]
        argv = ["vfioctl", operation, address, *(consent if operation == "bind" else [])]
        subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    wait_until(lambda: set(HALF_WAY) <= set(stops.points(stops.journal(since))), 60, f"{list(HALF_WAY)} are reached")
    print({address: driver(address) for address in (XHCI, SHARED_EDU, SIBLING, IGB, E1000E, EDU)})


def log():
    said = run("journalctl", "--boot", "-u", "vfiod", "-o", "cat").stdout.splitlines()
    left = [path.name for path in stops.STATE.iterdir() if path.name != "lost+found"]
    print(json.dumps({"said": [line for line in said if "record of" in line], "left": left}))


def settings():
    text = {
        address: {name: value.decode() if isinstance(value, bytes) else value for name, value in state.items()}
        for address, state in snapshot_all().items()
    }
    print(json.dumps(text))


def bound():
    for address in (XHCI, SHARED_EDU):
        bind(address, consent=CONSENT.get(address))


{"settings": settings, "half-way": half_way, "bound": bound, "log": log}[sys.argv[1]]()
