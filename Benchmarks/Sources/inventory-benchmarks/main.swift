import Glibc
import LinuxSystem

// Without arguments: the table. --check: once, and whether sysfs was asked more often than it should be. --devices is
// for the interrupts' benchmarks: a host of files has none.
let options = Set(CommandLine.arguments.dropFirst())
guard options.isSubset(of: ["--check", "--devices"]) else {
    print("usage: inventory-benchmarks [--check]")
    exit(2)
}
if options.contains("--devices") { exit(0) }
let isCheck = options.contains("--check")
let loop = try EventLoop(name: "benchmark")
var sizes: [SizeMeasurement] = []
for functions in [10, 1024] {
    sizes.append(try await SizeMeasurement(functions: functions, rounds: isCheck ? 1 : 200, on: loop))
}
loop.stop()
if isCheck {
    let opens = sizes.map { ($0.firstOpens - 1) / $0.functions }
    let isConstant = Set(opens).count == 1 && Set(sizes.map(\.eventOpens)).count == 1
    let listsFromMemory = sizes.allSatisfy { $0.listOpens == 0 }
    print(isConstant && listsFromMemory ? "inventory: as promised" : "inventory: more opens than promised: \(sizes)")
    exit(isConstant && listsFromMemory ? 0 : 1)
}
print(SizeTable.text(sizes), terminator: "")
