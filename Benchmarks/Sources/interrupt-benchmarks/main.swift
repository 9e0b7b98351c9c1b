internal import Glibc
internal import InterruptBenchmarks

// Without arguments: the table. --devices: only the part with real devices. --check: everything once, and whether the
// kernel was asked more often than it should be.
let options = Set(CommandLine.arguments.dropFirst())
guard options.isSubset(of: ["--check", "--devices"]) else {
    print("usage: interrupt-benchmarks [--check] [--devices]")
    exit(2)
}
var run = BenchmarkRun()
run.measure(once: options.contains("--check"), onlyDevices: options.contains("--devices"))
if options.contains("--check") {
    for line in run.excesses { print("too many: \(line)") }
    print(run.missing, terminator: "")
    print(run.excesses.isEmpty ? "requests: as promised" : "requests: more than promised")
    exit(run.excesses.isEmpty ? 0 : 1)
}
print(run.report, terminator: "")
