#!/usr/bin/env python3
"""Runs the host's tests of one level: --level LEVEL [--only NAME...]. Exit status 0 if all passed, 1 if not."""

import argparse
import sys

import harness

parser = argparse.ArgumentParser()
parser.add_argument("--level", default="host")
parser.add_argument("--only", nargs="*")
parser.add_argument("--list", action="store_true")
options = parser.parse_args()

tests = [one for one in harness.load() if options.level in one.levels]
if options.only is not None:
    tests = [one for one in tests if one.name in options.only]
if options.list:
    print("\n".join(one.name for one in tests))
    sys.exit(0)
sys.exit(0 if harness.run(tests) else 1)
