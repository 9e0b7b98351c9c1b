"""The lab's own unit tests: a lab that calls a failure a success would prove nothing."""

import io
import unittest

from . import cache


def _all():
    def flat(suite):
        for item in suite:
            yield from flat(item) if isinstance(item, unittest.TestSuite) else (item,)

    return list(flat(unittest.TestLoader().discover(cache.LAB / "own", top_level_dir=cache.LAB / "own")))


def _name(test):
    return f"{type(test).__name__}.{test._testMethodName}"


def names():
    return [_name(test) for test in _all()]


def run():
    """{name: None | reason}"""
    results = {}
    for test in _all():
        outcome = unittest.TextTestRunner(stream=io.StringIO()).run(test)
        trouble = [text.strip().splitlines()[-1] for _, text in outcome.failures + outcome.errors]
        trouble += [f"skipped: {reason}" for _, reason in outcome.skipped]
        results[_name(test)] = trouble[0] if trouble else None
    return results
