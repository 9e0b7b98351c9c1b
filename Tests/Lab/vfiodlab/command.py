"""The command line: verbs and their options."""

import argparse
import signal
import sys

from . import image
from .report import LabError, Report
from .variant import Variant


class Ended(BaseException):
    """A signal asked the lab to end: like KeyboardInterrupt, it passes every handler of errors but runs every `finally`."""

    def __init__(self, number):
        self.number = number


def _end(number, _):
    raise Ended(number)


def parser():
    top = argparse.ArgumentParser(
        prog="Tests/Lab/lab", description="A virtual hypervisor host in which vfiod is built, installed and proven.")
    host = argparse.ArgumentParser(add_help=False)
    host.add_argument("--kernel", choices=image.KERNELS, default="6.12",
                      help="the host's kernel: Debian 13's (default), the newest from backports, or Debian 12's")
    host.add_argument("--no-iommu", action="store_true", help="a host without an IOMMU")
    host.add_argument("--no-intremap", action="store_true", help="a host whose IOMMU does not remap interrupts")
    host.add_argument("--no-vfiod", action="store_true", help="do not build or install vfiod")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True)

    run = verbs.add_parser("run", parents=[host], help="run a command in the host, as root")
    run.add_argument("command", nargs="+", metavar="-- COMMAND", help="one word is given to sh -c, more are run as they are")
    return top


def variant(options):
    return Variant(options.kernel, not options.no_iommu, not options.no_intremap)


def main(arguments):
    options = parser().parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    # A command's output is the caller's; what the lab says about it goes beside it.
    report = Report(sys.stderr if options.verb in ("run", "shell") else sys.stdout)
    try:
        from . import verbs
        return getattr(verbs, options.verb)(report, options)
    except LabError as error:
        report.say(f"lab: {error}")
        if error.details:
            report.plain(error.details)
        return 2
    except KeyboardInterrupt:
        report.say("lab: interrupted")
        return 130
    except Ended as ended:
        report.say(f"lab: ended by {signal.Signals(ended.number).name}")
        return 128 + ended.number
