"""The verbs that run one long program in the host: the demo, the soak and the benchmarks."""

import pathlib

from . import cache, host, kept, process
from .variant import of_options
from .verbs import forward


def demo(report, options):
    return _show(report, options, ["python3", "-B", "-u", "/run/payload/lab/demo.py"], 1200)


def soak(report, options):
    return _show(
        report, options, ["python3", "-B", "-u", "/run/payload/lab/soak.py", str(options.rounds)], 600 * options.rounds
    )


def bench(report, options):
    """The benchmarks of real devices, whose executable is a package of its own."""
    folder = cache.REPOSITORY / "Benchmarks"
    with cache.run_folder() as run:
        argv = ["swift", "build", "-c", "release", "--static-swift-stdlib", "--product", "interrupt-benchmarks"]
        process.run(report, "building the benchmarks", argv, run / "benchmarks.log", cwd=folder)
    options.push = [str(folder / ".build" / "release" / "interrupt-benchmarks")]
    return _show(report, options, ["python3", "-B", "-u", "/run/payload/lab/bench.py"], 1200)


def _show(report, options, argv, deadline):
    def run(channel):
        begun = report.elapsed()
        for name in getattr(options, "push", []):
            path = pathlib.Path(name)
            channel.put(f"/root/{path.name}", path.read_bytes(), path.stat().st_mode & 0o777)
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
