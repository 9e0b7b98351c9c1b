"""Brings a host up for a verb: image, build, payload, boot; and takes it down again whatever happens."""

import contextlib

from . import build, cache, image, packages
from .machine import Machine
from .report import LabError


@contextlib.contextmanager
def booted(report, variant, with_vfiod=True, extra=None, payload=None):
    """A running host. Leaving it normally powers it off; leaving it by a failure shows the console and kills it."""
    packages.ensure(report)
    with cache.run_folder() as folder:
        its_image = image.ensure(report, variant.kernel)
        tree = payload or build.payload(report, folder, with_vfiod, extra)
        machine = Machine(folder, variant, its_image, build.disk(report, folder, tree))
        try:
            machine.boot(report)
            yield machine
            machine.power_off(report)
        except LabError as error:
            show_console(machine, error)
            raise
        finally:
            machine.kill()


def show_console(machine, error):
    if machine.process and "console ends" not in error.details:
        if ending := machine.ending():
            error.args = (f"{error}: {ending}",)
        error.details = (error.details + "\n" + machine.console_tail()).strip()
