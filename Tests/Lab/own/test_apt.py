"""The machine's mirror is found in either form of apt's configuration."""

import pathlib
import tempfile
import unittest

from vfiodlab import apt


def sources(name, text):
    with tempfile.TemporaryDirectory() as root:
        folder = pathlib.Path(root) / "sources.list.d"
        folder.mkdir()
        (folder / name).write_text(text)
        return [(s.uri, s.suite, s.signed_by) for s in apt.sources(root)]


class Apt(unittest.TestCase):
    def test_deb822(self):
        found = sources(
            "a.sources",
            "Types: deb deb-src\nURIs: http://m.test/debian/\nSuites: trixie trixie-updates\n"
            "Components: main\nSigned-By: /k.gpg\n\n"
            "Enabled: no\nTypes: deb\nURIs: http://x.test\nSuites: trixie\n",
        )
        self.assertEqual(
            found, [("http://m.test/debian", "trixie", "/k.gpg"), ("http://m.test/debian", "trixie-updates", "/k.gpg")]
        )

    def test_one_line(self):
        found = sources(
            "a.list",
            "# deb http://no.test bookworm main\n"
            "deb [ arch=amd64 signed-by=/k.gpg ] http://m.test/debian bookworm main contrib # why\n"
            "deb-src http://m.test/debian bookworm main\n"
            "deb http://m.test/security bookworm-security main\n",
        )
        self.assertEqual(
            found, [("http://m.test/debian", "bookworm", "/k.gpg"), ("http://m.test/security", "bookworm-security", "")]
        )

    def test_key_in_the_field(self):
        found = sources(
            "a.sources", "Types: deb\nURIs: http://m.test\nSuites: trixie\nSigned-By:\n -----BEGIN PGP\n .\n abc\n"
        )
        self.assertEqual(found, [("http://m.test", "trixie", "")])

    def test_switched_off(self):
        self.assertEqual(sources("a.sources.disabled", "Types: deb\nURIs: http://m.test\nSuites: trixie\n"), [])
