"""vfiod as its users see it: a Varlink client over the socket, and the command line."""

import json
import socket
import subprocess

from harness import Failure

SOCKET = "/run/vfiod/io.vfiod"


class CallError(Exception):
    """An error reply: its name and its parameters."""

    def __init__(self, name, parameters):
        super().__init__(f"{name} {json.dumps(parameters)}")
        self.name = name
        self.parameters = parameters


class Connection:
    def __init__(self, timeout=120):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.socket.connect(SOCKET)
        self.received = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send_raw(self, data):
        self.socket.sendall(data)

    def reply(self, end=b"\0"):
        """The next reply, or None when vfiod has closed the connection."""
        while end not in self.received:
            data = self.socket.recv(1 << 16)
            if not data:
                return None
            self.received += data
        message, self.received = self.received.split(end, 1)
        return json.loads(message)

    def call(self, method, /, more=False, on_progress=lambda _: None, **parameters):
        """One call; with `more` the progress goes to `on_progress` and the last reply is returned."""
        message = {"method": method, "parameters": {k: v for k, v in parameters.items() if v is not None}}
        if more:
            message["more"] = True
        self.send_raw(json.dumps(message).encode() + b"\0")
        while True:
            reply = self.reply()
            if reply is None:
                raise ConnectionError(f"closed during {method}")
            if "error" in reply:
                raise CallError(reply["error"], reply.get("parameters") or {})
            if not reply.get("continues"):
                return reply.get("parameters") or {}
            on_progress(reply.get("parameters") or {})


def call(method, /, **parameters):
    if "." not in method:
        method = "io.vfiod." + method
    with Connection() as connection:
        return connection.call(method, **parameters)


def error_of(method, /, **parameters):
    """The error that a call gets; a call that succeeds is a failure here."""
    try:
        reply = call(method, **parameters)
    except CallError as error:
        return error
    raise Failure(f"{method} {parameters} was carried out: {json.dumps(reply)[:300]}")


def devices():
    return {device["address"]: device for device in call("List")["devices"]}


def bind(address, **parameters):
    return call("Bind", device=address, **parameters)


def restore(address):
    return call("Restore", device=address)


def self_test(address, **parameters):
    """The reports of a self-test by type and by what raised the interrupts."""
    reply = call("SelfTest", more=True, device=address, **parameters)
    return {(report["type"], report["raisedBy"]): report for report in reply["reports"]}, reply["passed"]


def vfioctl(*arguments, check=True):
    result = subprocess.run(["vfioctl", *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if check and result.returncode != 0:
        raise Failure(f"vfioctl {' '.join(arguments)} ended with {result.returncode}: {result.stderr.strip()}")
    return result


def give_back_all():
    """Restores what a test left bound; returns the addresses that were."""
    for lease in call("Leases")["leases"]:
        for device in lease["devices"]:
            call("Detach", device=device["device"])
    bound = [address for address, device in devices().items() if device["state"] in ("bound", "quarantined", "busy")]
    for address in bound:
        restore(address)
    return bound
