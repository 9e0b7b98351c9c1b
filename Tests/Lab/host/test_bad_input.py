"""Whatever comes over the socket: one named error, nothing changed, and the next client is served."""

import json

from client import CallError, Connection, call, error_of
from harness import cleanup, expect, expect_equal, test
from machine import EDU, differences, resident_kib, service_pid, snapshot_all

MISSING = "0000:7f:00.0"


def unharmed():
    """Call first in a test: when it ends, the host is as it was, and the same vfiod still answers."""
    before, pid = snapshot_all(), service_pid()

    def check():
        expect_equal(differences(before, snapshot_all()), [], "devices")
        expect_equal(service_pid(), pid, "vfiod's process")
        expect(call("List")["devices"], "List")

    cleanup(check)


def raw(data, end=b"\0"):
    """The first reply to bytes that are no call; then vfiod closes the connection or is still in step."""
    with Connection(timeout=30) as connection:
        try:
            connection.send_raw(data)
        except BrokenPipeError:
            pass  # It may close before it has read all of it; its reply can still be read.
        return connection.reply(end)


@test()
def address_that_does_not_exist():
    unharmed()
    for method in ("Describe", "Bind", "Restore", "Reset", "Release", "SelfTest", "Interrupts"):
        error = error_of(method, device=MISSING)
        expect_equal((error.name, error.parameters.get("device")), ("io.vfiod.DeviceNotFound", MISSING), method)


@test()
def address_that_is_none():
    unharmed()
    for text in (
        "",
        "edu",
        "../../etc",
        "0000:00:10.8",
        "0000:00:10.0/",
        "00:10",
        "0000:00:10.0\u0000",
        "\u0660000:00:10.0",
        "a" * 5000,
    ):
        for method in ("Describe", "Bind", "Restore", "Reset", "Release"):
            name = error_of(method, device=text).name
            expect(
                name in ("io.vfiod.DeviceNotFound", "org.varlink.service.InvalidParameter"),
                f"{method} {text[:20]!r}: {name}",
            )


@test()
def malformed_json():
    unharmed()
    for text in (
        b"{",
        b"}",
        b"nonsense",
        b'{"method":}',
        b'{"method":"io.vfiod.List"',
        b'["io.vfiod.List"]',
        b'"io.vfiod.List"',
        b"42",
        b"\xff\xfe{}",
        b"{" * 100_000,
        b"[" * 100_000,
    ):
        reply = raw(text + b"\0")
        expect(reply and "." in reply.get("error", ""), f"{text[:30]!r}: {reply}")


@test()
def trailing_comma():
    """Not JSON either (RFC 8259), though some parsers take it."""
    unharmed()
    reply = raw(b'{"method":"io.vfiod.List",}\0')
    expect("." in reply.get("error", ""), "the call was carried out")


@test()
def envelope_that_is_none():
    """Valid JSON that is no call."""
    unharmed()
    for message in (
        {},
        {"method": 1},
        {"method": None},
        {"method": "List"},
        {"method": "io.vfiod.List", "parameters": []},
        {"method": "io.vfiod.List", "more": "yes"},
        {"method": ""},
    ):
        reply = raw(json.dumps(message).encode() + b"\0")
        expect(reply and "." in reply.get("error", ""), f"{message}: {reply}")


@test()
def ten_megabytes():
    unharmed()
    before = resident_kib(service_pid())
    reply = raw(b'{"method":"io.vfiod.List","parameters":{"padding":"' + b"a" * 10_000_000 + b'"}}\0')
    expect(reply and "." in reply.get("error", ""), f"{reply}")
    grown = resident_kib(service_pid()) - before
    expect(grown < 8192, f"vfiod keeps {grown} KiB after one large message")


@test()
def half_a_message():
    """A client that goes away in the middle of a message, or says nothing, is forgotten."""
    unharmed()
    with Connection() as idle:
        with Connection() as connection:
            connection.send_raw(b'{"method":"io.vfiod.Bind","parameters":{"device":"0000:00:10.0"')
        expect(call("List")["devices"], "List")
        idle.send_raw(b'{"method":')
        expect(call("List")["devices"], "List beside a client that stands still")


@test()
def unknown_method():
    unharmed()
    error = error_of("io.vfiod.Explode")
    expect_equal(error.name, "org.varlink.service.MethodNotFound", "error")
    error = error_of("io.nobody.List")
    expect_equal(error.name, "org.varlink.service.InterfaceNotFound", "error")
    error = error_of("org.varlink.service.GetInterfaceDescription", interface="io.nobody")
    expect_equal(error.name, "org.varlink.service.InterfaceNotFound", "error")


@test()
def wrong_types():
    unharmed()
    for method, parameters in (
        ("Describe", {"device": 16}),
        ("Describe", {"device": ["0000:00:10.0"]}),
        ("Describe", {}),
        ("Bind", {"device": EDU, "dryRun": "yes"}),
        ("Bind", {"device": EDU, "consent": "all"}),
        ("Bind", {"device": EDU, "consent": [1]}),
        ("SelfTest", {"device": EDU, "count": "ten"}),
        ("SelfTest", {"device": EDU, "count": 1.5}),
        ("SelfTest", {"device": EDU, "vectors": 1e300}),
    ):
        error = error_of(method, **parameters)
        expect_equal(error.name, "org.varlink.service.InvalidParameter", f"{method} {parameters}")


@test()
def unknown_parameter():
    """A misspelt dryRun must not become a real Bind."""
    unharmed()
    error = error_of("Bind", device=EDU, dryrun=True)
    expect_equal(error.name, "org.varlink.service.InvalidParameter", "error")


@test()
def connection_survives_an_error():
    """An error reply to a well-formed call leaves the connection usable."""
    unharmed()
    with Connection() as connection:
        try:
            connection.call("io.vfiod.Describe", device=MISSING)
        except CallError:
            pass
        expect(connection.call("io.vfiod.List")["devices"], "List")
