// swift-tools-version: 6.3
import PackageDescription

// One list of settings for all Swift targets, applied at the end of this file.
let common: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .treatAllWarnings(as: .error),
]

let system: Target.Dependency = .product(name: "SystemPackage", package: "swift-system")
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
let arguments: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")
let lifecycle: Target.Dependency = .product(name: "ServiceLifecycle", package: "swift-service-lifecycle")
let unixSignals: Target.Dependency = .product(name: "UnixSignals", package: "swift-service-lifecycle")
let toml: Target.Dependency = .product(name: "TOMLKit", package: "TOMLKit")

let package = Package(
    name: "vfiod",
    products: [
        .executable(name: "vfiod", targets: ["vfiod"]),
        .executable(name: "vfioctl", targets: ["vfioctl"]),
        .executable(name: "vfiod-claim", targets: ["vfiod-claim"]),
        .executable(name: "vfiod-selftest-guest", targets: ["vfiod-selftest-guest"]),
        .library(name: "InterruptSources", targets: ["InterruptSources"]),
        .library(name: "VFIOInterrupts", targets: ["VFIOInterrupts"]),
        .library(name: "KVMInterrupts", targets: ["KVMInterrupts"]),
        .library(name: "GuestLibrary", targets: ["GuestLibrary"]),
        // What those speak of in their interfaces.
        .library(name: "LinuxSystem", targets: ["LinuxSystem"]),
        .library(name: "PCI", targets: ["PCI"]),
        .library(name: "VFIO", targets: ["VFIO"]),
        .library(name: "KVM", targets: ["KVM"]),
        // For the benchmarks.
        .library(name: "Passthrough", targets: ["Passthrough"]),
        .library(name: "TestSupport", targets: ["TestSupport"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
        .package(url: "https://github.com/LebJe/TOMLKit", from: "0.6.0"),
    ],
    targets: [
        // The kernel's and libpci's C side: numbers, layouts, and what Swift cannot call; no logic.
        .target(name: "CLinux"),
        .target(name: "CPCI", linkerSettings: [.linkedLibrary("pci")]),

        // The operating system, without any knowledge of devices.
        .target(name: "LinuxSystem", dependencies: ["CLinux", system]),

        // One vocabulary each.
        .target(name: "InterruptSources", dependencies: ["LinuxSystem"]),
        .target(name: "PCI", dependencies: ["CPCI", "LinuxSystem"]),
        .target(name: "VFIO", dependencies: ["CLinux", "LinuxSystem", "PCI", system]),
        .target(name: "VFIOInterrupts", dependencies: ["InterruptSources", "LinuxSystem", "VFIO", system]),
        .target(name: "KVM", dependencies: ["CLinux", "LinuxSystem", system]),
        .target(name: "KVMInterrupts", dependencies: ["InterruptSources", "KVM", "LinuxSystem", system]),
        .target(name: "VFIOUser", dependencies: ["LinuxSystem", system]),
        .target(name: "Varlink", dependencies: ["LinuxSystem", system]),
        .target(name: "Systemd", dependencies: ["LinuxSystem", logging]),

        // What runs in the initial RAM disk: small, and below the domain.
        .target(name: "BootClaim", dependencies: ["LinuxSystem", "PCI"]),
        .executableTarget(name: "vfiod-claim", dependencies: ["BootClaim"]),

        // The guest's side of a relay.
        .target(name: "GuestLibrary", dependencies: ["InterruptSources", "LinuxSystem"]),
        .target(name: "SelfTestProtocol", dependencies: ["LinuxSystem", system]),
        .target(
            name: "SelfTestGuest",
            dependencies: [
                "GuestLibrary", "InterruptSources", "KVM", "KVMInterrupts", "LinuxSystem", "SelfTestProtocol", system,
            ]),

        // The domain: no sockets, no wire types.
        .target(
            name: "Passthrough",
            dependencies: [
                "InterruptSources", "LinuxSystem", "PCI", "SelfTestProtocol", "VFIO", "VFIOInterrupts", logging, system,
            ]),

        // The wire, the daemon and its command line.
        .target(
            name: "VfiodAPI", dependencies: ["Varlink"],
            resources: [.embedInCode("io.vfiod.varlink"), .embedInCode("io.vfiod.lease.varlink")]),
        .target(
            name: "VfiodDaemon",
            dependencies: [
                "BootClaim", "InterruptSources", "LinuxSystem", "PCI", "Passthrough", "Systemd", "VFIOUser", "Varlink",
                "VfiodAPI", lifecycle, logging, system, toml, unixSignals,
            ]),
        .target(name: "VfioctlCommands", dependencies: ["LinuxSystem", "Varlink", "VfiodAPI", arguments]),
        .executableTarget(name: "vfiod", dependencies: ["VfiodDaemon", arguments]),
        .executableTarget(name: "vfioctl", dependencies: ["VfioctlCommands", arguments]),
        .executableTarget(name: "vfiod-selftest-guest", dependencies: ["SelfTestGuest"]),

        // Fakes and fixtures, for tests only.
        .target(name: "TestSupport", dependencies: ["CLinux", "InterruptSources", "LinuxSystem", "PCI", system]),
        .testTarget(name: "LinuxSystemTests", dependencies: ["LinuxSystem", "TestSupport", system]),
        .testTarget(
            name: "InterruptSourcesTests",
            dependencies: ["InterruptSources", "LinuxSystem", "TestSupport", system]),
        .testTarget(
            name: "InterruptModelTests",
            dependencies: [
                "InterruptSources", "KVM", "KVMInterrupts", "LinuxSystem", "PCI", "TestSupport", "VFIO",
                "VFIOInterrupts", system,
            ]),
        .testTarget(name: "PCITests", dependencies: ["PCI", "LinuxSystem", "TestSupport"]),
        .testTarget(name: "BootClaimTests", dependencies: ["BootClaim", "LinuxSystem", "PCI", "TestSupport", system]),
        .testTarget(
            name: "VFIOTests",
            dependencies: [
                "CLinux", "InterruptSources", "LinuxSystem", "PCI", "TestSupport", "VFIO", "VFIOInterrupts", system,
            ]),
        .testTarget(
            name: "KVMTests",
            dependencies: [
                "CLinux", "InterruptSources", "KVM", "KVMInterrupts", "LinuxSystem", "PCI", "TestSupport", "VFIO",
                "VFIOInterrupts", system,
            ]),
        .testTarget(name: "VFIOUserTests", dependencies: ["LinuxSystem", "TestSupport", "VFIOUser", system]),
        .testTarget(name: "VarlinkTests", dependencies: ["LinuxSystem", "TestSupport", "Varlink"]),
        .testTarget(name: "SystemdTests", dependencies: ["LinuxSystem", "Systemd", "TestSupport", logging]),
        .testTarget(
            name: "SelfTestGuestTests",
            dependencies: [
                "GuestLibrary", "InterruptSources", "KVM", "KVMInterrupts", "LinuxSystem", "SelfTestGuest",
                "SelfTestProtocol", "TestSupport",
            ]),
        .testTarget(
            name: "PassthroughTests",
            dependencies: [
                "InterruptSources", "LinuxSystem", "PCI", "Passthrough", "SelfTestProtocol", "TestSupport", "VFIO",
                logging, system,
            ]),
        // The kernel's and real devices' interrupts into a counting guest: on any KVM, and in the lab.
        .testTarget(
            name: "InterruptLabTests",
            dependencies: [
                "CLinux", "InterruptSources", "KVM", "KVMInterrupts", "LinuxSystem", "PCI", "Passthrough",
                "SelfTestProtocol", "TestSupport", "VFIO", "VFIOInterrupts", system,
            ]),
        .testTarget(name: "VfiodAPITests", dependencies: ["Varlink", "VfiodAPI"]),
        .testTarget(
            name: "VfiodDaemonTests",
            dependencies: [
                "InterruptSources", "LinuxSystem", "PCI", "Passthrough", "Systemd", "TestSupport", "Varlink",
                "VfiodAPI", "VfiodDaemon", lifecycle, logging, system,
            ]),
        .testTarget(
            name: "VfioctlCommandsTests",
            dependencies: ["LinuxSystem", "TestSupport", "Varlink", "VfiodAPI", "VfioctlCommands", arguments, system]),
    ]
)

for target in package.targets where !["CLinux", "CPCI"].contains(target.name) {
    var settings = common
    // The checks reach into macro expansions of tests, where they cannot be answered.
    if target.type != .test { settings.append(.strictMemorySafety()) }
    target.swiftSettings = (target.swiftSettings ?? []) + settings
}
