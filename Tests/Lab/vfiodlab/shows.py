"""The verbs that run one long program in the host: the demo and the soak."""

from . import host, kept
from .variant import of_options
from .verbs import forward


def demo(report, options):
    return _show(report, options, ["python3", "-B", "-u", "/run/payload/lab/demo.py"], 1200)


def soak(report, options):
    return _show(
        report, options, ["python3", "-B", "-u", "/run/payload/lab/soak.py", str(options.rounds)], 600 * options.rounds
    )


def _show(report, options, argv, deadline):
    def run(channel):
        begun = report.elapsed()
        status = channel.run(argv, forward, deadline=deadline)
        report.say(f"{options.verb}: {'passed' if status == 0 else 'FAILED'} in {report.elapsed() - begun:.1f} s")
        return status

    if options.keep or options.update:
        with kept.machine(report, of_options(options), update=options.update) as channel:
            status = run(channel)
    else:
        with host.booted(report, of_options(options)) as machine:
            status = run(machine.channel)
    report.say(f"all of it: {report.elapsed():.1f} s")
    return status
