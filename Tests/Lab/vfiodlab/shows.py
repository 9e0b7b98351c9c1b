"""The demo: one long program in the host."""

from . import host, kept
from .variant import of_options
from .verbs import forward

DEMO = ["python3", "-B", "-u", "/run/payload/lab/demo.py"]


def demo(report, options):
    def run(channel):
        begun = report.elapsed()
        status = channel.run(DEMO, forward, deadline=1200)
        report.say(f"demo: {'passed' if status == 0 else 'FAILED'} in {report.elapsed() - begun:.1f} s")
        return status

    if options.keep or options.update:
        with kept.machine(report, of_options(options), update=options.update) as channel:
            status = run(channel)
    else:
        with host.booted(report, of_options(options)) as machine:
            status = run(machine.channel)
    report.say(f"all of it: {report.elapsed():.1f} s")
    return status
