// swift-tools-version: 6.3
import PackageDescription

// A package of its own, so that nobody who uses vfiod resolves what only its benchmarks need.
let package = Package(
    name: "Benchmarks",
    dependencies: [
        .package(name: "vfiod", path: ".."),
        // No traits: its interposers count allocations, of which there are none worth counting here.
        .package(url: "https://github.com/ordo-one/benchmark", from: "1.38.1", traits: []),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    ],
    targets: [
        // The least kernel work, in C.
        .target(name: "CFloor"),
        .target(name: "MarkdownTables"),
        // The operations, done by the floor and by vfiod, and how they are measured.
        .target(
            name: "InterruptBenchmarks",
            dependencies: [
                "CFloor", "MarkdownTables",
                .product(name: "InterruptSources", package: "vfiod"),
                .product(name: "KVM", package: "vfiod"),
                .product(name: "KVMInterrupts", package: "vfiod"),
                .product(name: "LinuxSystem", package: "vfiod"),
                .product(name: "PCI", package: "vfiod"),
                .product(name: "VFIO", package: "vfiod"),
                .product(name: "VFIOInterrupts", package: "vfiod"),
            ]),
        // One table of both, with ratios.
        .executableTarget(name: "interrupt-benchmarks", dependencies: ["InterruptBenchmarks"]),
        // The inventory of hosts of two sizes, made of files.
        .executableTarget(
            name: "inventory-benchmarks",
            dependencies: [
                "MarkdownTables", .product(name: "LinuxSystem", package: "vfiod"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "PCI", package: "vfiod"), .product(name: "Passthrough", package: "vfiod"),
                .product(name: "TestSupport", package: "vfiod"),
            ]),
        // The same operations for `swift package benchmark`: percentiles, baselines and their comparison.
        .executableTarget(
            name: "Interrupts",
            dependencies: ["InterruptBenchmarks", .product(name: "Benchmark", package: "benchmark")],
            path: "Benchmarks/Interrupts",
            plugins: [.plugin(name: "BenchmarkPlugin", package: "benchmark")]),
    ]
)

for target in package.targets where target.name != "CFloor" {
    target.swiftSettings = [
        .swiftLanguageMode(.v6),
        .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("MemberImportVisibility"),
        .enableUpcomingFeature("InternalImportsByDefault"),
        .treatAllWarnings(as: .error),
        .strictMemorySafety(),
    ]
}
