"""Linux guests of an unmodified, unprivileged QEMU that drive real devices through vfiod."""

import hashlib
import http.server
import os
import pathlib
import random
import re
import threading
import time
import urllib.request

from client import bind, call, restore, vfioctl
from guest import USER, Guest
from harness import cleanup, expect, expect_equal, test, wait_until
from machine import E1000E, differences, ping, run, snapshot_all
from test_leases import STEPS, detach_if_attached, state, steps

HOST = "10.0.4.1"
MEGABYTES = 50


def qemu_arguments(address, memory):
    """What `vfioctl attach` prints for QEMU."""
    printed = vfioctl("attach", address, "--uid", str(USER), "--qemu", memory).stdout.split()
    cleanup(detach_if_attached, address)
    return printed


def idle(address):
    wait_until(lambda: state(address) == "idle", 60, f"the session of {address} is over")


def vectors(name):
    """How often each of the host's vectors that VFIO has wired for a device has come."""
    found = {}
    with open("/proc/interrupts") as file:
        for line in file:
            match = re.match(r"\s*\d+:((?:\s+\d+)+)\s+.*\b(vfio-\S+)\(" + re.escape(name) + r"\)", line)
            if match:
                found[match.group(2)] = sum(int(count) for count in match.group(1).split())
    return found


def guest_vectors(guest, name):
    found = {}
    for line in guest.must("cat /proc/interrupts").splitlines():
        match = re.match(r"\s*\d+:((?:\s+\d+)+)\s+.*\s(" + name + r"\S*)$", line)
        if match:
            found[match.group(2)] = sum(int(count) for count in match.group(1).split())
    return found


def on_cable(body):
    """Starts a thread of `body` at the other end of the cable, which is a network namespace."""

    def there():
        with open("/run/netns/cable") as namespace:
            os.setns(namespace.fileno(), os.CLONE_NEWNET)
        body()

    thread = threading.Thread(target=there, daemon=True)
    thread.start()
    return thread


class Server:
    """What a guest fetches by HTTP."""

    def __init__(self, data):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.server = None

        def serve():
            self.server = http.server.HTTPServer((HOST, 0), Handler)
            self.server.serve_forever()

        on_cable(serve)
        wait_until(lambda: self.server, 10, "the other end of the cable listens")
        cleanup(self.server.shutdown)

    @property
    def url(self):
        return f"http://{HOST}:{self.server.server_port}/"


def fetch(url, seconds):
    """What a guest serves."""
    fetched = []

    def get():
        with urllib.request.urlopen(url, timeout=seconds) as reply:
            fetched.append(reply.read())

    on_cable(get).join(seconds)
    expect(fetched, f"nothing came from {url}")
    return fetched[0]


def bring_up(guest, address):
    """The guest's network card, with an address; returns its name."""
    name = guest.must("modprobe e1000e; ls /sys/class/net | grep -v lo").split()[0]
    guest.must(f"ip address add {address}/24 dev {name} && ip link set {name} up")
    guest.must(f"until ping -c 1 -W 1 {HOST}; do :; done", 60)
    return name


@test(deadline=600)
def e1000e():
    """A network card: an address, pings, and 50 MB by TCP each way; all of its vectors come in the guest."""
    before = snapshot_all()
    bind(E1000E, consent=["network-address"])
    guest = Guest(*qemu_arguments(E1000E, "256M")).boot()
    name = bring_up(guest, "10.0.4.2")
    guest.must(f"ping -c 20 -i 0.1 {HOST}")
    data = random.Random(1).randbytes(MEGABYTES << 20)
    guest.must(f"wget -q -O /tmp/data {Server(data).url}", 200)
    expect_equal(guest.must("md5sum < /tmp/data").split()[0], hashlib.md5(data).hexdigest(), "what the guest received")
    guest.must("httpd -p 80 -h /tmp")
    expect(fetch("http://10.0.4.2/data", 200) == data, "what the host received is something else")
    inside, outside = guest_vectors(guest, name), vectors(E1000E)
    expect(len(inside) == 3 and all(inside.values()), f"the guest's vectors: {inside}")
    expect_equal(len([count for count in outside.values() if count]), 3, f"the host's vectors: {outside}")
    expect(sum(inside.values()) <= sum(outside.values()), f"more in the guest, {inside}, than in the host, {outside}")
    since = time.time()
    guest.kill()
    idle(E1000E)
    expect_equal([step for step, result, _ in steps(E1000E, since) if result == "done"], STEPS, "steps")
    call("Detach", device=E1000E)
    restore(E1000E)
    expect_equal(differences(before, snapshot_all()), [], "state after Restore")
    expect(ping(), "the host's driver does not work with it")


@test(deadline=600)
def trapped():
    """Without the right to map registers the VMM gets no descriptor of the device, and its guest pings all the same."""
    configuration = pathlib.Path("/etc/vfiod/vfiod.toml")
    text = configuration.read_text()
    cleanup(run, "systemctl", "restart", "vfiod")
    cleanup(configuration.write_text, text)
    configuration.write_text(text.replace("#map-bars = true", "map-bars = false"))
    expect_equal(run("systemctl", "restart", "vfiod").returncode, 0, "status of the restart")
    bind(E1000E, consent=["network-address"])
    guest = Guest(*qemu_arguments(E1000E, "256M")).boot()
    expect("trapped" in vfioctl("leases").stdout, "vfioctl leases")
    held = [os.readlink(path) for path in pathlib.Path(f"/proc/{guest.process_id}/fd").iterdir()]
    expect_equal([link for link in held if "vfio" in link], [], "descriptors of VFIO in the VMM")
    bring_up(guest, "10.0.4.2")
    guest.must(f"ping -c 20 -i 0.1 {HOST}")
    guest.kill()
    idle(E1000E)
    call("Detach", device=E1000E)
    restore(E1000E)
