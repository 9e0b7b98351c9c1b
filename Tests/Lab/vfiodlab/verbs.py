"""The short verbs."""

import sys

from . import host
from .command import variant


def run(report, options):
    words = options.command
    argv = words if len(words) > 1 else ["sh", "-c", words[0]]
    with host.booted(report, variant(options), with_vfiod=not options.no_vfiod) as machine:
        return machine.channel.run(argv, forward)


def forward(stream, data):
    output = sys.stdout if stream == "out" else sys.stderr
    output.buffer.write(data)
    output.flush()
