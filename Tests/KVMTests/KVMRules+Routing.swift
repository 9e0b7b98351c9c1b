import CLinux
import KVM
import LinuxSystem
import SystemPackage

extension KVMRule {
    private static func pin16(_ bench: KVMBench, isLevel: Bool = true, isMasked: Bool = false) throws {
        try bench.machine.setRedirection(
            pin: 16, IOAPICRedirection(vector: 48, destination: 0, isLevel: isLevel, isMasked: isMasked))
    }

    /// Levels at the IOAPIC.
    static let levels = [
        KVMRule("a level stays asserted until its end", ["arrived: [48]", "arrived: []", "resampled: false"]) { bench in
            let (notifier, resample) = (try EventFD(), try EventFD())
            try pin16(bench)
            try bench.machine.assignIRQFD(notifier.rawValue, gsi: 16, resample: resample.rawValue)
            try notifier.signal()
            try bench.arrivals([48])
            try notifier.signal()
            try bench.arrivals([])
            bench.note("resampled: \(resample.isSignalled)")
        },
        KVMRule("plain and resample irqfds can share a number", ["plain: ok", "resample: ok", "arrived: [48]"]) {
            bench in
            let (plain, level, resample) = (try EventFD(), try EventFD(), try EventFD())
            try pin16(bench)
            bench.attempt("plain") { () throws(KernelError) in
                try bench.machine.assignIRQFD(plain.rawValue, gsi: 16)
            }
            bench.attempt("resample") { () throws(KernelError) in
                try bench.machine.assignIRQFD(level.rawValue, gsi: 16, resample: resample.rawValue)
            }
            try level.signal()
            try bench.arrivals([48])
        },
        KVMRule("a resample irqfd is taken away without saying so", ["deassign: ok", "arrived: []", "waiting: true"]) {
            bench in
            let (notifier, resample) = (try EventFD(), try EventFD())
            try pin16(bench)
            try bench.machine.assignIRQFD(notifier.rawValue, gsi: 16, resample: resample.rawValue)
            bench.attempt("deassign") { () throws(KernelError) in
                try bench.machine.deassignIRQFD(notifier.rawValue, gsi: 16)
            }
            try notifier.signal()
            try bench.arrivals([])
            bench.note("waiting: \(notifier.isSignalled)")
        },
        KVMRule("a masked pin raises nothing", ["arrived: []"]) { bench in
            let (notifier, resample) = (try EventFD(), try EventFD())
            try pin16(bench, isMasked: true)
            try bench.machine.assignIRQFD(notifier.rawValue, gsi: 16, resample: resample.rawValue)
            try notifier.signal()
            try bench.arrivals([])
        },
        KVMRule(
            "a level that the pin's mask held back arrives when it is lifted",
            ["requested: true", "arrived: []", "arrived: [48]"]
        ) { bench in
            let (notifier, resample) = (try EventFD(), try EventFD())
            try pin16(bench, isMasked: true)
            try bench.machine.assignIRQFD(notifier.rawValue, gsi: 16, resample: resample.rawValue)
            try notifier.signal()
            try bench.requested(pin: 16, true)
            try bench.arrivals([])
            try pin16(bench)
            try bench.arrivals([48])
        },
        KVMRule(
            "a level goes down with the last resample irqfd that could hold it up",
            ["requested: true", "requested: true", "requested: false"]
        ) { bench in
            let (first, second, resample) = (try EventFD(), try EventFD(), try EventFD())
            try pin16(bench, isMasked: true)
            for notifier in [first, second] {
                try bench.machine.assignIRQFD(notifier.rawValue, gsi: 16, resample: resample.rawValue)
            }
            try first.signal()
            try bench.requested(pin: 16, true)
            try bench.machine.deassignIRQFD(first.rawValue, gsi: 16)
            try bench.requested(pin: 16, true)
            try bench.machine.deassignIRQFD(second.rawValue, gsi: 16)
            try bench.requested(pin: 16, false)
        },
        KVMRule(
            "what the guest has not ended does not arrive again, whoever raises it",
            ["arrived: [48]", "requested: true", "arrived: []"]
        ) { bench in
            let (first, second, resample) = (try EventFD(), try EventFD(), try EventFD())
            try pin16(bench)
            try bench.machine.assignIRQFD(first.rawValue, gsi: 16, resample: resample.rawValue)
            try first.signal()
            try bench.arrivals([48])
            try bench.machine.deassignIRQFD(first.rawValue, gsi: 16)
            try bench.machine.assignIRQFD(second.rawValue, gsi: 16, resample: resample.rawValue)
            try second.signal()
            try bench.requested(pin: 16, true)
            try bench.arrivals([])
        },
        KVMRule(
            "a plain irqfd is an edge, which a masked pin loses",
            ["arrived: [48]", "arrived: [48]", "requested: false", "arrived: []"]
        ) { bench in
            let notifier = try EventFD()
            try pin16(bench, isLevel: false)
            try bench.machine.assignIRQFD(notifier.rawValue, gsi: 16)
            for _ in 0..<2 {
                try notifier.signal()
                try bench.arrivals([48])
            }
            try pin16(bench, isLevel: false, isMasked: true)
            try notifier.signal()
            // Waits for what is under way.
            try bench.machine.deassignIRQFD(notifier.rawValue, gsi: 16)
            try bench.requested(pin: 16, false)
            try pin16(bench, isLevel: false)
            try bench.arrivals([])
        },
        KVMRule("the IOAPIC has 24 pins", ["pin 24: EINVAL", "pin -1: EINVAL"]) { bench in
            for pin in [24, -1] {
                bench.attempt("pin \(pin)") { () throws(KernelError) in
                    try bench.machine.setRedirection(
                        pin: pin, IOAPICRedirection(vector: 48, destination: 0, isLevel: true))
                }
            }
        },
    ]

    /// The table as a whole.
    static let routing = [
        KVMRule(
            "a refused table leaves the old one in force",
            [
                "gsi 4096: EINVAL", "gsi 4294967295: EINVAL", "two messages: EINVAL", "message and pin: EINVAL",
                "pin and message: EINVAL", "same pin twice: EINVAL", "pin 24: EINVAL", "PIC pin 8: EINVAL",
                "4,097 routes: EINVAL", "arrived: [40]",
            ]
        ) { bench in
            let notifier = try EventFD()
            try bench.route([24: 40])
            try bench.machine.assignIRQFD(notifier.rawValue, gsi: 24)
            let message = KVMBench.message(50)
            let refused: [(String, [KVMRoute])] = [
                ("gsi 4096", [KVMRoute(gsi: 4096, message)]),
                ("gsi 4294967295", [KVMRoute(gsi: .max, message)]),
                ("two messages", [KVMRoute(gsi: 24, message), KVMRoute(gsi: 24, KVMBench.message(51))]),
                ("message and pin", [KVMRoute(gsi: 24, message), KVMRoute(gsi: 24, .pin(.ioapic, 5))]),
                ("pin and message", [KVMRoute(gsi: 24, .pin(.ioapic, 5)), KVMRoute(gsi: 24, message)]),
                ("same pin twice", [KVMRoute(gsi: 5, .pin(.ioapic, 5)), KVMRoute(gsi: 5, .pin(.ioapic, 6))]),
                ("pin 24", [KVMRoute(gsi: 24, .pin(.ioapic, 24))]),
                ("PIC pin 8", [KVMRoute(gsi: 24, .pin(.masterPIC, 8))]),
                ("4,097 routes", (0..<4097).map { KVMRoute(gsi: UInt32($0 % 4096), message) }),
            ]
            for (what, routes) in refused {
                bench.attempt(what) { () throws(KernelError) in try bench.machine.setRouting(routes) }
            }
            try notifier.signal()
            try bench.arrivals([40])
        },
        KVMRule("a table can be full, and can be empty", ["4,096 routes: ok", "none: ok", "arrived: []", "left: 0"]) {
            bench in
            let notifier = try EventFD()
            try bench.machine.assignIRQFD(notifier.rawValue, gsi: 24)
            bench.attempt("4,096 routes") { () throws(KernelError) in
                try bench.machine.setRouting((0..<4096).map { KVMRoute(gsi: $0, KVMBench.message(60)) })
            }
            bench.attempt("none") { () throws(KernelError) in try bench.machine.setRouting([]) }
            try notifier.signal()
            try bench.arrivals([])
            bench.note("left: \(notifier.drain())")
        },
        KVMRule(
            "flags that do not exist are refused, of the table and of a route",
            ["table 1: EINVAL", "route 2: EINVAL", "arrived: [40]"]
        ) { bench in
            let notifier = try EventFD()
            try bench.route([24: 40])
            try bench.machine.assignIRQFD(notifier.rawValue, gsi: 24)
            for (what, tableFlags, routeFlags) in [("table 1", 1, 0), ("route 2", 0, 2)] as [(String, UInt32, UInt32)] {
                bench.attempt(what) { () throws(KernelError) in
                    var words: [UInt32] = [
                        1, tableFlags, 24, UInt32(KVM_IRQ_ROUTING_MSI), routeFlags, 0, 0xfee0_0000, 0, 50, 0, 0, 0, 0,
                        0,
                    ]
                    _ = try bench.kernel.ioctl(
                        bench.descriptor.rawValue, CLINUX_KVM_SET_GSI_ROUTING, "KVM_SET_GSI_ROUTING", buffer: &words)
                }
            }
            try notifier.signal()
            try bench.arrivals([40])
        },
        KVMRule("a device id is tolerated", ["with device id: ok", "arrived: [50]"]) { bench in
            let notifier = try EventFD()
            try bench.machine.assignIRQFD(notifier.rawValue, gsi: 24)
            bench.attempt("with device id") { () throws(KernelError) in
                try bench.machine.setRouting([
                    KVMRoute(gsi: 24, .message(address: 0xfee0_0000, data: 50, deviceID: 0x80))
                ])
            }
            try notifier.signal()
            try bench.arrivals([50])
        },
        KVMRule(
            "the upper half of an address counts only with wide local APIC ids",
            ["before: ok", "wide: ok", "after: EINVAL", "low byte clear: ok"]
        ) { bench in
            func route(_ high: UInt64) throws(KernelError) {
                try bench.machine.setRouting([
                    KVMRoute(gsi: 24, .message(address: high << 32 | 0xfee0_0000, data: 50, deviceID: nil))
                ])
            }
            bench.attempt("before") { () throws(KernelError) in try route(1) }
            bench.attempt("wide") { () throws(KernelError) in try bench.machine.enableWideAPICIDs() }
            bench.attempt("after") { () throws(KernelError) in try route(1) }
            bench.attempt("low byte clear") { () throws(KernelError) in try route(0x100) }
        },
        KVMRule("a route that changes takes its irqfd along", ["arrived: [40]", "arrived: [41]"]) { bench in
            let notifier = try EventFD()
            try bench.machine.assignIRQFD(notifier.rawValue, gsi: 24)
            for vector in [40, 41] as [UInt32] {
                try bench.route([24: vector])
                try notifier.signal()
                try bench.arrivals([vector])
            }
        },
    ]

    /// KVM_SIGNAL_MSI.
    static let messages = [
        KVMRule(
            "a message needs no route, and says whether it was taken",
            ["taken: true", "arrived: [70]", "nobody: false"]
        ) { bench in
            bench.note("taken: \(try bench.machine.signalMessage(address: 0xfee0_0000, data: 70))")
            try bench.arrivals([70])
            bench.note("nobody: \((try? bench.machine.signalMessage(address: 0xfee0_7000, data: 71)) ?? false)")
        },
        KVMRule("an unknown flag of a message is refused", ["flags 2: EINVAL"]) { bench in
            bench.attempt("flags 2") { () throws(KernelError) in
                var message = kvm_msi()
                message.address_lo = 0xfee0_0000
                message.data = 70
                message.flags = 2
                _ = try bench.kernel.ioctl(
                    bench.descriptor.rawValue, CLINUX_KVM_SIGNAL_MSI, "KVM_SIGNAL_MSI", &message)
            }
        },
    ]
}
