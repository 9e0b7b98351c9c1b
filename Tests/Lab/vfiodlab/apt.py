"""The machine's own Debian mirror, read from its apt configuration.

No mirror stands in this repository: whatever mirror this machine uses serves the other suites that the lab needs
(backports for QEMU, trixie for the host), and a security suite is taken from where this machine has its own.
"""

import glob
import os
import shlex
from dataclasses import dataclass

from .report import LabError

DEBIAN_SUITES = ("bookworm", "trixie", "forky", "sid", "stable", "testing", "unstable")


@dataclass(frozen=True)
class Source:
    uri: str
    suite: str
    signed_by: str


def sources(root="/etc/apt"):
    """All binary package sources that apt would use."""
    found = []
    for path in [f"{root}/sources.list", *sorted(glob.glob(f"{root}/sources.list.d/*"))]:
        if not os.path.isfile(path):
            continue
        with open(path, errors="replace") as file:
            text = file.read()
        if path.endswith(".sources"):
            found += _deb822(text)
        elif path.endswith(".list"):
            found += _one_line(text)
    return found


def _deb822(text):
    for paragraph in text.split("\n\n"):
        fields, last = {}, None
        for line in paragraph.splitlines():
            if line.startswith("#"):
                continue
            if line[:1].isspace() and last:
                fields[last] += " " + line.strip()
            elif ":" in line:
                name, value = line.split(":", 1)
                last = name.strip().lower()
                fields[last] = value.strip()
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() in ("no", "false"):
            continue
        signed_by = fields.get("signed-by", "")
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                # A key in the field itself, not a file name, cannot be carried over to a one-line list.
                yield Source(uri.rstrip("/"), suite, signed_by if signed_by.startswith("/") else "")


def _one_line(text):
    for line in text.splitlines():
        words = shlex.split(line, comments=True)
        if not words or words[0] != "deb":
            continue
        signed_by = ""
        rest = words[1:]
        if rest and rest[0].startswith("["):
            options = []
            while rest:
                word = rest.pop(0)
                options += word.strip("[]").split()
                if word.endswith("]"):
                    break
            signed_by = next((o.split("=", 1)[1] for o in options if o.startswith("signed-by=")), "")
        if len(rest) >= 2:
            yield Source(rest[0].rstrip("/"), rest[1], signed_by)


def mirror(security=False):
    """Where Debian's suites (or its security suites) come from on this machine."""
    for source in sources():
        base = source.suite.split("/")[0].split("-")[0]
        is_security = "security" in source.suite
        if base in DEBIAN_SUITES and is_security == security:
            return source
    raise LabError(
        "no Debian mirror" + (" for security updates" if security else "") + " in this machine's apt sources"
    )


def lines(suites):
    """One-line apt sources for `suites` of this machine's mirror; security suites are left out where it has none."""
    result = []
    for suite in suites:
        try:
            source = mirror(security="security" in suite)
        except LabError:
            if "security" in suite:
                continue
            raise
        options = f"[signed-by={source.signed_by}] " if source.signed_by else ""
        result.append(f"deb {options}{source.uri} {suite} main")
    return "\n".join(result) + "\n"
