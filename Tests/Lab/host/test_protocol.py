"""The socket with other people's clients: socat and varlinkctl, and the framing that they and shells rely on."""

import json
import socket

from client import SOCKET, Connection, bind, call, restore
from harness import expect, expect_equal, test
from machine import EDU, XHCI, run, shell


@test()
def socat_list():
    """The line that the documentation shows: a request that ends in a newline, a reply that jq reads."""
    result = shell(
        'set -o pipefail; echo \'{"method":"io.vfiod.List"}\' | socat -t5 - UNIX:/run/vfiod/io.vfiod | jq -c .'
    )
    expect_equal(result.returncode, 0, f"status ({result.stderr})")
    expect_equal(len(result.stdout.splitlines()), 1, "lines")
    addresses = [device["address"] for device in json.loads(result.stdout)["parameters"]["devices"]]
    expect(EDU in addresses, f"edu is not in {addresses}")


@test()
def varlinkctl_info():
    result = run("varlinkctl", "info", SOCKET)
    expect_equal(result.returncode, 0, f"status ({result.stderr})")
    expect("io.vfiod" in result.stdout and "org.varlink.service" in result.stdout, result.stdout)


@test()
def varlinkctl_introspect():
    result = run("varlinkctl", "introspect", SOCKET, "io.vfiod")
    expect_equal(result.returncode, 0, f"status ({result.stderr})")
    for word in ("interface io.vfiod", "method List", "method Bind", "method SelfTest", "error DeviceNotFound"):
        expect(word in result.stdout, f"no '{word}' in the description")
    methods = run("varlinkctl", "list-methods", SOCKET)
    expect_equal(methods.returncode, 0, f"list-methods: status ({methods.stderr})")
    expect("io.vfiod.Restore" in methods.stdout, methods.stdout)


@test()
def varlinkctl_validates_description():
    description = call("org.varlink.service.GetInterfaceDescription", interface="io.vfiod")["description"]
    result = run("varlinkctl", "validate-idl", input=description)
    expect_equal(result.returncode, 0, f"status ({result.stderr})")


@test()
def varlinkctl_call():
    result = run("varlinkctl", "call", SOCKET, "io.vfiod.Describe", json.dumps({"device": XHCI}))
    expect_equal(result.returncode, 0, f"status ({result.stderr})")
    expect_equal(json.loads(result.stdout)["details"]["device"]["driver"], "xhci_hcd", "driver")
    result = run("varlinkctl", "call", SOCKET, "io.vfiod.Describe", json.dumps({"device": "0000:7f:00.0"}))
    expect(result.returncode != 0, "a call that fails ended with 0")
    expect("io.vfiod.DeviceNotFound" in result.stdout + result.stderr, f"no error name: {result.stdout}{result.stderr}")


@test()
def varlinkctl_more():
    bind(EDU)
    result = run("varlinkctl", "--more", "call", SOCKET, "io.vfiod.SelfTest", json.dumps({"device": EDU, "count": 2}))
    restore(EDU)
    expect_equal(result.returncode, 0, f"status ({result.stderr})")
    expect('"passed"' in result.stdout, result.stdout)


@test()
def progress_is_streamed():
    """With `more` there is progress before the reply; without, there is one reply."""
    bind(EDU)
    progress = []
    with Connection() as connection:
        connection.call("io.vfiod.SelfTest", more=True, on_progress=progress.append, device=EDU, count=2)
        reply = connection.call("io.vfiod.SelfTest", device=EDU, count=2)
    restore(EDU)
    expect(any(part.get("progress") for part in progress), f"no progress: {progress}")
    expect_equal(reply["passed"], True, "passed, without more")


@test()
def pipelined_calls():
    """Calls sent at once are answered one by one, in their order."""
    with Connection() as connection:
        for device in (EDU, XHCI, EDU):
            connection.send_raw(
                json.dumps({"method": "io.vfiod.Describe", "parameters": {"device": device}}).encode() + b"\0"
            )
        answers = [connection.reply()["parameters"]["details"]["device"]["address"] for _ in range(3)]
    expect_equal(answers, [EDU, XHCI, EDU], "order")


@test()
def byte_by_byte():
    with Connection() as connection:
        for byte in b'{"method":"org.varlink.service.GetInfo"}\0':
            connection.send_raw(bytes([byte]))
        expect_equal(connection.reply()["parameters"]["product"], "vfiod", "product")


@test()
def half_closed_lines():
    """A client that has closed its writing side is still answered, line for line."""
    with Connection() as connection:
        connection.send_raw(b'{"method":"io.vfiod.List"}\n{"method":"io.vfiod.List"}\n')
        connection.socket.shutdown(socket.SHUT_WR)
        for _ in range(2):
            expect("devices" in connection.reply(end=b"\n")["parameters"], "no devices")
        expect_equal(connection.reply(end=b"\n"), None, "after the last reply")
