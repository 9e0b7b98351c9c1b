"""The command line: verbs and their options."""

import argparse
import signal
import sys

from . import image, lists, shows, soak, test_levels, verbs
from .report import LabError, Report


class Ended(BaseException):
    """A signal asked the lab to end. Like KeyboardInterrupt it passes handlers of errors, but runs every `finally`."""

    def __init__(self, number):
        self.number = number


def _end(number, _):
    raise Ended(number)


def parser():
    top = argparse.ArgumentParser(
        prog="Tests/Lab/lab",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="A virtual hypervisor host in which vfiod is built, installed and proven.",
        epilog="The first use installs missing Debian packages and makes the host's image (a minute or two);\n"
        "later ones start in seconds. Nothing is left running but a machine that --keep was asked to keep.",
    )
    verbs_of = top.add_subparsers(dest="verb", metavar="VERB", required=True)

    host = argparse.ArgumentParser(add_help=False)
    host.add_argument(
        "--kernel",
        choices=image.KERNELS,
        default="6.12",
        help="the host's kernel: Debian 13's (default), the newest from backports, or Debian 12's",
    )
    host.add_argument("--no-iommu", action="store_true", help="a host without an IOMMU")
    host.add_argument("--no-intremap", action="store_true", help="a host whose IOMMU does not remap interrupts")
    host.add_argument("--no-vfiod", action="store_true", help="do not build or install vfiod")
    keep = argparse.ArgumentParser(add_help=False)
    keep.add_argument(
        "--keep",
        action="store_true",
        help="leave the machine up, and use it again: the next --keep takes less than a second, and takes "
        "vfiod as it is there (see --update); `stop` powers it off",
    )
    keep.add_argument("--update", action="store_true", help="--keep, and first build and install this work tree again")

    run = verbs_of.add_parser("run", parents=[host, keep], help="run a command in the host, as root")
    run.add_argument("--push", action="append", default=[], metavar="FILE", help="copy FILE to /root in the host first")
    run.add_argument("-i", "--input", action="store_true", help="give the command the standard input")
    run.add_argument(
        "command",
        nargs="+",
        metavar="-- COMMAND",
        help="a single word is given to sh -c, several are run as they are; its exit status is the lab's",
    )
    verbs_of.add_parser("shell", parents=[host, keep], help="a root shell in the host")
    test = verbs_of.add_parser(
        "test",
        parents=[keep],
        help="everything that must hold; the last line says N passed, N failed",
        description="Levels: lab, format, unit, unit-thread, unit-address, units, benchmarks, host, no-iommu, "
        "no-intremap, kernel-6.1, kernel-backports, both with -no-intremap, power, and boot. "
        "With --keep only the host's tests of the kept machine's variant run.",
    )
    add_filter(test, "^host/, bad-input, ^unit/.*Varlink")
    test.set_defaults(kernel="6.12", no_iommu=False, no_intremap=False)
    verbs_of.add_parser(
        "demo", parents=[host, keep], help="bind, self-test and restore of five devices, told as it happens"
    )
    soak = verbs_of.add_parser(
        "soak",
        parents=[host, keep],
        help="races and cycles for about an hour: nothing may be lost or add up",
        description="The interrupt tests' races and cycles in their long form, on this machine's KVM and in the host; "
        "then rounds of Bind, self-test and Restore of five devices.",
    )
    soak.add_argument("--seconds", type=int, default=60, help="how long each race goes on, default 60")
    soak.add_argument("--cycles", type=int, default=10_000, help="of one vector, default 10,000; of a window, 1/200")
    soak.add_argument("--rounds", type=int, default=20, help="of Bind, self-test and Restore, default 20")
    add_filter(soak, "^kvm/, ModeRaceTests, rounds")
    verbs_of.add_parser(
        "bench", parents=[host, keep], help="the benchmarks of real devices beside their floor: a table of ratios"
    )
    tests = verbs_of.add_parser("list", help="compare the lists of expected tests with the tests that there are")
    tests.add_argument("--host", action="store_true", help="only the host's tests, which need no build")
    tests.add_argument("--write", action="store_true", help="bring the lists up to date")
    verbs_of.add_parser("stop", help="power off the machine that --keep left up")
    clean = verbs_of.add_parser("clean", help="remove images of older recipes, and what interrupted runs left")
    clean.add_argument("--all", action="store_true", help="the current images too")
    return top


def add_filter(parser, examples):
    parser.add_argument(
        "filter",
        nargs="?",
        metavar="FILTER",
        help=f"only tests whose LEVEL/NAME matches this regular expression: {examples}",
    )


VERBS = {
    "demo": shows.demo,
    "test": test_levels.test,
    "shell": verbs.shell,
    "run": verbs.run,
    "soak": soak.soak,
    "bench": shows.bench,
    "list": lists.list_tests,
    "stop": verbs.stop,
    "clean": verbs.clean,
}


def main(arguments):
    options = parser().parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    # A command's output is the caller's; what the lab says about it goes beside it.
    report = Report(sys.stderr if options.verb in ("run", "shell") else sys.stdout)
    try:
        return VERBS[options.verb](report, options)
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
