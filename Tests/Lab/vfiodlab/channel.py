"""The outer side of the channel to the host: commands go in, their output and exit status come back.

It is a virtio-serial port, apart from the console. One JSON object a line, bytes as base64; host/agent.py is the other
side and describes the messages.
"""

import base64
import json
import os
import select
import socket
import time

from .report import LabError


class ChannelClosed(LabError):
    pass


class Channel:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(os.fspath(path))
        self.received = b""
        self.pending = []
        self.next_id = 1

    def close(self):
        self.socket.close()

    def send(self, **message):
        self.socket.sendall(b"\n" + json.dumps(message).encode() + b"\n")

    def receive(self, timeout, *others):
        """The next message, or None; returns early with None when one of `others` (file objects) is readable."""
        if self.pending:
            return self.pending.pop(0)
        readable, _, _ = select.select([self.socket, *others], [], [], timeout)
        if self.socket not in readable:
            return None
        data = self.socket.recv(1 << 16)
        if not data:
            raise ChannelClosed("the host went away")
        self.received += data
        *lines, self.received = self.received.split(b"\n")
        for line in lines:
            try:
                self.pending.append(json.loads(line))
            except ValueError:
                continue  # The rest of a line that was meant for an earlier client.
        return self.pending.pop(0) if self.pending else None

    def greet(self):
        """Asks the host's agent for its stage; the answer carries our nonce, so older messages can be told apart."""
        self.nonce = os.urandom(8).hex()
        self.send(op="hello", nonce=self.nonce)

    def start(self, argv, tty=None, stdin=False, env=None):
        identity = self.next_id = self.next_id + 1
        self.send(op="run", id=identity, argv=list(argv), tty=tty, stdin=stdin, env=env or {})
        return identity

    def run(self, argv, on_output, deadline=None, stdin=None, tty=None, resized=lambda: None, env=None):
        """Runs a command; `on_output(stream, bytes)` gets its output as it comes. Returns its exit status.

        `stdin` is a descriptor to read the command's input from."""
        identity = self.start(argv, tty=tty, stdin=stdin is not None, env=env)
        end = time.monotonic() + deadline if deadline else None
        while True:
            if end and time.monotonic() > end:
                self.send(op="kill", id=identity)
                raise LabError(f"no end within {deadline:.0f} s: {' '.join(argv)}")
            others = [] if stdin is None else [stdin]
            message = self.receive(0.5, *others)
            if message is None:
                if stdin is not None and select.select([stdin], [], [], 0)[0]:
                    data = os.read(stdin, 1 << 15)
                    self.send(op="stdin", id=identity, data=base64.b64encode(data).decode())
                    if not data:
                        stdin = None
                if size := resized():
                    self.send(op="resize", id=identity, rows=size[0], columns=size[1])
                continue
            if message.get("id") != identity:
                continue
            if "data" in message:
                on_output(message["stream"], base64.b64decode(message["data"]))
            elif "exit" in message:
                return message["exit"]
            elif "error" in message:
                raise LabError(message["error"])

    def capture(self, argv, deadline=60):
        """Runs a command for its output: (status, text)."""
        parts = []
        status = self.run(argv, lambda _, data: parts.append(data), deadline=deadline)
        return status, b"".join(parts).decode(errors="replace")

    def put(self, path, data, mode=0o644):
        for start in range(0, max(len(data), 1), 1 << 18):
            piece = base64.b64encode(data[start : start + (1 << 18)]).decode()
            self.send(op="put", path=path, mode=mode, data=piece, append=start > 0)
