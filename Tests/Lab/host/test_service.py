"""vfiod under systemd: the socket, the unit, and the rights that it has."""

import grp
import os
import stat

from client import SOCKET, call
from harness import cleanup, expect, expect_equal, test, wait_until
from machine import descriptors, read, run, service_pid, shell


@test()
def socket_permissions():
    status = os.stat(SOCKET)
    expect_equal(oct(stat.S_IMODE(status.st_mode)), "0o660", "mode")
    expect_equal((status.st_uid, grp.getgrgid(status.st_gid).gr_name), (0, "vfiod"), "owner, group")
    result = shell("runuser -u nobody -- socat -t2 - UNIX:/run/vfiod/io.vfiod </dev/null")
    expect(result.returncode != 0, "nobody can connect")


@test(deadline=120)
def socket_activation():
    """vfiod stopped: the next client starts it and is answered."""
    expect_equal(run("systemctl", "stop", "vfiod.service").returncode, 0, "systemctl stop")
    cleanup(run, "systemctl", "start", "vfiod.service")
    expect_equal(service_pid(), 0, "main process")
    expect(call("List")["devices"], "List")
    expect(service_pid() != 0, "no main process")


@test(deadline=120)
def restart():
    """Type=notify: systemctl returns when vfiod answers; a stop is clean."""
    expect_equal(run("systemctl", "restart", "vfiod.service").returncode, 0, "systemctl restart")
    expect_equal(run("systemctl", "is-active", "vfiod.service").stdout.strip(), "active", "state")
    properties = run("systemctl", "show", "-p", "Type,NotifyAccess,NRestarts,Result", "vfiod.service").stdout
    expect("Type=notify" in properties and "Result=success" in properties, properties)


@test()
def runs_with_the_units_rights():
    """The rights of the running process are no more than the unit lists."""
    status = read(f"/proc/{service_pid()}/status").decode()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    bounding = int(fields["CapBnd"], 16)
    expect(bounding != (1 << 41) - 1, "every capability is in the bounding set")
    expect_equal(fields["CapEff"], fields["CapPrm"], "effective and permitted capabilities")
    expect_equal(fields["NoNewPrivs"].strip(), "1", "NoNewPrivileges")
    policy = run("systemctl", "show", "-p", "DevicePolicy,DeviceAllow", "vfiod.service").stdout
    expect("DevicePolicy=closed" in policy or "DevicePolicy=strict" in policy, policy)


@test()
def clients_are_logged():
    """Peer credentials are in the journal."""
    call("List")
    journal = wait_until(lambda: run("journalctl", "-u", "vfiod", "-o", "cat", "-n", "200").stdout, 10, "a journal")
    expect(str(os.getpid()) in journal or "uid" in journal.lower(), "no peer credentials in the journal")


@test(deadline=120)
def connections_leave_nothing():
    for _ in range(5):
        call("List")
    before = descriptors(service_pid())
    for _ in range(200):
        call("List")
    wait_until(lambda: descriptors(service_pid()) <= before, 10, f"{before} descriptors as before 200 connections")


@test()
def units_verify():
    result = run("systemd-analyze", "verify", "vfiod.service", "vfiod.socket")
    expect_equal((result.returncode, result.stderr.strip()), (0, ""), "systemd-analyze verify")
