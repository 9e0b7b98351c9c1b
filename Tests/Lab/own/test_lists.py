"""The lists of expected tests: what is missing, skipped or extra is a failure."""

import io
import json
import unittest

from vfiodlab.expected import Expected, Tally
from vfiodlab.report import Report
from vfiodlab.swift_tests import blame_process, filter_for, read_events

PRESENT, ABSENT = "/dev/null", "/dev/no-such-device"


def settle(tests, results, pattern=None):
    tally = Tally(Report(io.StringIO()), pattern)
    tally.settle("level", tests, results)
    return tally.passed, [failure.split(":")[0] for failure in tally.failures], tally.not_run


class Lists(unittest.TestCase):
    def test_all_as_listed(self):
        self.assertEqual(settle([Expected("a"), Expected("b")], {"a": None, "b": None}), (2, [], []))

    def test_missing(self):
        self.assertEqual(settle([Expected("a"), Expected("b")], {"a": None}), (1, ["level/b"], []))

    def test_extra(self):
        self.assertEqual(settle([Expected("a")], {"a": None, "b": None}), (1, ["level/b"], []))

    def test_failed(self):
        self.assertEqual(settle([Expected("a")], {"a": "wrong"}), (0, ["level/a"], []))

    def test_skipped(self):
        self.assertEqual(settle([Expected("a")], {"a": "skipped: because"}), (0, ["level/a"], []))

    def test_skipped_for_a_need_that_is_not_met(self):
        self.assertEqual(settle([Expected("a", ABSENT)], {"a": "skipped: because"}), (0, [], ["a"]))

    def test_skipped_for_a_need_that_is_met(self):
        self.assertEqual(settle([Expected("a", PRESENT)], {"a": "skipped: because"}), (0, ["level/a"], []))

    def test_failed_with_a_need_that_is_not_met(self):
        """It ran, so what it says counts."""
        self.assertEqual(settle([Expected("a", ABSENT)], {"a": "wrong"}), (0, ["level/a"], []))

    def test_filter(self):
        self.assertEqual(settle([Expected("a"), Expected("b")], {"a": None}, "level/a"), (1, [], []))

    def test_dead_process(self):
        results = {"a": None, "b": "skipped: because"}
        blame_process(results, 66, "a data race")
        self.assertEqual(
            settle([Expected("a"), Expected("b", ABSENT)], results), (1, ["level/the test process"], ["b"])
        )

    def test_nothing_ran(self):
        results = {}
        blame_process(results, 1, "")
        self.assertEqual(settle([], results)[1], ["level/the test process"])


def stream(*records):
    return "\n".join(json.dumps({"kind": kind, "payload": payload}) for kind, payload in records)


def declared(name):
    return "test", {"kind": "function", "id": f"{name}/File.swift:1:2", "name": name}


def event(kind, name, **more):
    return "event", {
        "kind": kind,
        "testID": f"{name}/File.swift:1:2",
        "messages": [{"symbol": "fail", "text": "why"}],
        **more,
    }


class SwiftEvents(unittest.TestCase):
    def test_passed_failed_skipped(self):
        text = stream(
            declared("M.S/a()"),
            declared("M.S/b()"),
            declared("M.c()"),
            event("testStarted", "M.S/a()"),
            event("testEnded", "M.S/a()"),
            event("issueRecorded", "M.S/b()", issue={"isKnown": False}),
            event("testEnded", "M.S/b()"),
            event("testSkipped", "M.c()"),
        )
        self.assertEqual(read_events(text), {"M.S/a()": None, "M.S/b()": "why", "M.c()": "skipped: why"})

    def test_started_and_died(self):
        found = read_events(stream(declared("M.a()"), event("testStarted", "M.a()")) + '\n{"kind": "ev')
        self.assertIn("did not end", found["M.a()"])

    def test_known_issue(self):
        text = stream(
            declared("M.a()"), event("issueRecorded", "M.a()", issue={"isKnown": True}), event("testEnded", "M.a()")
        )
        self.assertEqual(read_events(text), {"M.a()": None})

    def test_filter_is_literal(self):
        self.assertEqual(filter_for(["M.S/a(x:)"]), r"^(M\.S/a\(x:\))(/|$)")
