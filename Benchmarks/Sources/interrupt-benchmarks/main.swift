internal import Glibc
internal import InterruptBenchmarks

// Without arguments: the table. With --check: everything once, and whether the kernel was asked too often.
let isCheck = CommandLine.arguments.dropFirst() == ["--check"]
var run = BenchmarkRun()
run.measure(once: isCheck)
if isCheck {
    for excess in run.excesses { print("too many: \(excess)") }
    print(run.excesses.isEmpty ? "requests: as promised" : "requests: more than promised")
    exit(run.excesses.isEmpty ? 0 : 1)
}
print(run.report, terminator: "")
