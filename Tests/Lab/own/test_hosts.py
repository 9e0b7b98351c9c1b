"""A host that goes away in the middle: what had not run to its end runs in a second one, and in no third."""

import contextlib
import io
import unittest
from types import SimpleNamespace
from unittest import mock

from vfiodlab import test_levels
from vfiodlab.channel import ChannelClosed
from vfiodlab.expected import Tally
from vfiodlab.report import LabError, Report


class LostHost(unittest.TestCase):
    def run_with(self, *deaths):
        """Runs two kinds of tests in hosts; in each of `deaths` the second kind finds its host gone."""
        self.ran, self.output = [], io.StringIO()
        tally = Tally(Report(self.output), None)
        endings = iter(deaths)

        def first(*_):
            self.ran.append("first")

        def second(*_):
            if error := next(endings, None):
                raise error
            self.ran.append("second")
            tally.ok("level", "a")

        @contextlib.contextmanager
        def booted(*_, **__):
            yield SimpleNamespace(channel=None)

        with mock.patch.object(test_levels.host, "booted", booted):
            left = [(first, []), (second, [])]
            test_levels._in_host(tally.report, tally, "level", None, None, left)
        return tally

    def test_once(self):
        tally = self.run_with(ChannelClosed("gone"))
        self.assertEqual(self.ran, ["first", "second"])
        self.assertEqual((tally.lost_hosts, tally.failures, tally.close()), (["level: gone"], [], 0))
        self.assertIn("booted a second time:\n  level: gone", self.output.getvalue())

    def test_twice(self):
        with self.assertRaises(ChannelClosed):
            self.run_with(ChannelClosed("gone"), ChannelClosed("gone"))
        self.assertEqual(self.ran, ["first"])

    def test_another_failure(self):
        with self.assertRaises(LabError):
            self.run_with(LabError("no end within 900 s"))
        self.assertEqual(self.ran, ["first"])
