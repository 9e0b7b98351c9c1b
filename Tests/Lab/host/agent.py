#!/usr/bin/env python3
"""The lab's hand in the host: takes commands from the outer machine over a virtio-serial port.

One JSON object a line in both directions, bytes as base64.

    to the host                                        from the host
    {"op": "hello", "nonce": N}                        {"hello": N, "stage": "installing" | "ready" | "failed"}
    {"op": "run", "id": I, "argv": [...],              {"id": I, "stream": "out" | "err", "data": BYTES} ...
     "tty": [rows, columns]?, "stdin": bool, "env"}    {"id": I, "exit": STATUS}
    {"op": "stdin", "id": I, "data": BYTES}            (no bytes: end of input)
    {"op": "resize", "id": I, "rows", "columns"}
    {"op": "kill", "id": I}
    {"op": "put", "path", "mode", "data", "append"}
    {"op": "install"}                                  installs /run/payload again
    {"op": "poweroff"}
                                                       {"stage": ..., "text": ...} whenever the stage changes

A client that goes away takes its commands with it, and the next one starts afresh.
"""

import base64
import fcntl
import json
import os
import selectors
import signal
import struct
import subprocess
import termios
import time

PORT = "/dev/virtio-ports/lab"
INSTALL = ["/bin/sh", "/run/payload/lab/install"]
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "TERM": os.environ.get("TERM", "linux"),
    "PYTHONDONTWRITEBYTECODE": "1",
}


class Command:
    def __init__(self, identity, message):
        self.identity = identity
        env = dict(ENVIRONMENT, **message.get("env", {}))
        self.streams = {}
        tty = message.get("tty")
        if tty:
            master, slave = os.openpty()
            set_size(master, *tty)
            self.process = subprocess.Popen(
                message["argv"],
                stdin=slave,
                stdout=slave,
                stderr=slave,
                cwd="/root",
                env=env,
                start_new_session=True,
                preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            )
            os.close(slave)
            self.input = master
            self.streams[master] = "out"
        else:
            self.process = subprocess.Popen(
                message["argv"],
                stdin=subprocess.PIPE if message.get("stdin") else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd="/root",
                env=env,
                start_new_session=True,
            )
            self.input = self.process.stdin.fileno() if self.process.stdin else None
            self.streams = {self.process.stdout.fileno(): "out", self.process.stderr.fileno(): "err"}
        for descriptor in self.streams:
            os.set_blocking(descriptor, False)
        self.pidfd = os.pidfd_open(self.process.pid)

    def kill(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def set_size(descriptor, rows, columns):
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


class Agent:
    def __init__(self):
        self.port = os.open(PORT, os.O_RDWR)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.port, selectors.EVENT_READ, None)
        self.commands = {}
        self.received = b""
        self.stage = {}

    # Messages

    def send(self, **message):
        data = json.dumps(message).encode() + b"\n"
        try:
            while data:
                data = data[os.write(self.port, data) :]
        except OSError:
            pass  # Nobody is connected: there is nobody to tell.

    def set_stage(self, stage, text=""):
        self.stage = {"stage": stage, "text": text}
        self.send(**self.stage)

    def take(self, message):
        operation = message.get("op")
        command = self.commands.get(message.get("id"))
        if operation == "hello":
            self.send(hello=message.get("nonce"), **self.stage)
        elif operation == "run":
            self.run(message)
        elif operation == "put":
            self.put(message)
        elif operation == "install":
            self.install()
        elif operation == "poweroff":
            subprocess.Popen(["systemctl", "poweroff"])
        elif command is None:
            return
        elif operation == "kill":
            command.kill()
        elif operation == "resize":
            set_size(command.input, message["rows"], message["columns"])
        elif operation == "stdin" and command.input is not None:
            self.give_input(command, base64.b64decode(message["data"]))

    def give_input(self, command, data):
        try:
            if data:
                os.write(command.input, data)
            elif command.process.stdin:
                command.process.stdin.close()
                command.input = None
            else:
                os.write(command.input, b"\x04")
        except OSError:
            pass  # The command does not read any more.

    def put(self, message):
        os.makedirs(os.path.dirname(message["path"]) or "/", exist_ok=True)
        with open(message["path"], "ab" if message["append"] else "wb") as file:
            file.write(base64.b64decode(message["data"]))
        os.chmod(message["path"], message["mode"])

    # Commands

    def run(self, message):
        try:
            command = Command(message["id"], message)
        except (OSError, ValueError) as error:
            self.send(id=message["id"], stream="err", data=base64.b64encode(f"{error}\n".encode()).decode())
            self.send(id=message["id"], exit=127)
            return
        self.commands[command.identity] = command
        for descriptor in (*command.streams, command.pidfd):
            self.selector.register(descriptor, selectors.EVENT_READ, command)

    def forward(self, command, descriptor):
        """Sends what there is on one stream; False once it has ended or is empty."""
        try:
            data = os.read(descriptor, 1 << 15)
        except BlockingIOError:
            return False
        except OSError:
            data = b""  # A terminal whose other end is closed says EIO.
        if not data:
            self.forget_stream(command, descriptor)
            return False
        self.send(id=command.identity, stream=command.streams[descriptor], data=base64.b64encode(data).decode())
        return True

    def forget_stream(self, command, descriptor):
        self.selector.unregister(descriptor)
        del command.streams[descriptor]

    def end(self, command):
        """The command ended. What it left in its pipes is sent; a background child may keep them open for ever."""
        for descriptor in list(command.streams):
            while self.forward(command, descriptor):
                pass
        for descriptor in list(command.streams):
            self.forget_stream(command, descriptor)
        self.selector.unregister(command.pidfd)
        os.close(command.pidfd)
        status = command.process.wait()
        for stream in (command.process.stdin, command.process.stdout, command.process.stderr):
            if stream:
                stream.close()
        if not command.process.stdout:
            os.close(command.input)
        del self.commands[command.identity]
        self.send(id=command.identity, exit=status if status >= 0 else 128 - status)

    # The payload

    def install(self):
        self.set_stage("installing")
        result = subprocess.run(
            INSTALL, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=ENVIRONMENT
        )
        self.set_stage("ready" if result.returncode == 0 else "failed", result.stdout.decode(errors="replace"))

    # The loop

    def serve(self):
        self.install()
        while True:
            for key, _ in self.selector.select():
                if key.fd == self.port:
                    self.read_port()
                elif key.data.identity not in self.commands:
                    continue  # Ended by an earlier event of this round.
                elif key.fd == key.data.pidfd:
                    self.end(key.data)
                elif key.fd in key.data.streams:
                    self.forward(key.data, key.fd)

    def read_port(self):
        data = os.read(self.port, 1 << 16)
        if not data:
            # The client is gone. The port stays readable without data until the next one comes.
            self.received = b""
            for command in list(self.commands.values()):
                command.kill()
            time.sleep(0.1)
            return
        self.received += data
        *lines, self.received = self.received.split(b"\n")
        for line in lines:
            try:
                message = json.loads(line)
            except ValueError:
                continue
            self.take(message)


if __name__ == "__main__":
    Agent().serve()
