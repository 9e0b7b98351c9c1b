import CLinux
import KVM
import LinuxSystem
import SystemPackage
import Testing

/// One rule of the kernel: what is done, and what comes of each step. Held by the fake KVM and by a real one alike.
struct KVMRule: Sendable, CustomTestStringConvertible {
    let name: String
    let expected: [String]
    var withControllers = true
    let steps: @Sendable (KVMBench) throws -> Void

    var testDescription: String { name }

    init(
        _ name: String, _ expected: [String], withControllers: Bool = true,
        steps: @escaping @Sendable (KVMBench) throws -> Void
    ) {
        self.name = name
        self.expected = expected
        self.withControllers = withControllers
        self.steps = steps
    }

    static let all = machine + irqfds + levels + routing + messages

    /// Making a machine's parts.
    static let machine = [
        KVMRule("the interface is version 12 and takes 4,096 routes", ["routes: 4096", "irqfd: 1", "resample: 1"]) {
            bench in
            bench.note("routes: \(try bench.system.check(.routing))")
            bench.note("irqfd: \(try bench.system.check(.irqfd))")
            bench.note("resample: \(try bench.system.check(.irqfdResample))")
        },
        KVMRule("interrupt controllers exist once", ["second: EEXIST"]) { bench in
            bench.attempt("second") { () throws(KernelError) in try bench.machine.createInterruptControllers() }
        },
        KVMRule(
            "without interrupt controllers there is no irqfd, no route and no message",
            ["irqfd: EINVAL", "deassign: ok", "routing: EINVAL", "message: EINVAL"], withControllers: false
        ) { bench in
            let notifier = try EventFD()
            bench.attempt("irqfd") { () throws(KernelError) in
                try bench.machine.assignIRQFD(notifier.rawValue, gsi: 24)
            }
            bench.attempt("deassign") { () throws(KernelError) in
                try bench.machine.deassignIRQFD(notifier.rawValue, gsi: 24)
            }
            bench.attempt("routing") { () throws(KernelError) in try bench.route([:]) }
            bench.attempt("message") { () throws(KernelError) in
                _ = try bench.machine.signalMessage(address: 0xfee0_0000, data: 40)
            }
        },
    ]

    /// Which descriptors can raise what.
    static let irqfds = [
        KVMRule("an event arrives as its route says", ["arrived: [40]", "arrived: [40]", "left: false"]) { bench in
            let notifier = try EventFD()
            try bench.route([24: 40])
            try bench.machine.assignIRQFD(notifier.rawValue, gsi: 24)
            for _ in 0..<2 {
                try notifier.signal()
                try bench.arrivals([40])
            }
            bench.note("left: \(notifier.isSignalled)")
        },
        KVMRule("an unknown flag is refused", ["flags 4: EINVAL", "flags 2147483648: EINVAL"]) { bench in
            let notifier = try EventFD()
            for flags in [4, 0x8000_0000] as [UInt32] {
                bench.attempt("flags \(flags)") { () throws(KernelError) in
                    var request = kvm_irqfd()
                    request.fd = UInt32(bitPattern: notifier.rawValue)
                    request.gsi = 24
                    request.flags = flags
                    _ = try bench.kernel.ioctl(
                        bench.descriptor.rawValue, CLINUX_KVM_IRQFD, "KVM_IRQFD", &request)
                }
            }
        },
        KVMRule(
            "what is no eventfd is refused",
            [
                "socket: EINVAL", "closed: EBADF", "negative: EBADF", "resample socket: EINVAL",
                "resample closed: EBADF", "deassign socket: EINVAL", "deassign closed: EBADF",
            ]
        ) { bench in
            let pair = try UnixSocket.pair(.stream)
            let (socket, closed) = (pair.first.rawValue, 1_000_000 as CInt)
            let notifier = try EventFD()
            let machine = bench.machine
            bench.attempt("socket") { () throws(KernelError) in try machine.assignIRQFD(socket, gsi: 24) }
            bench.attempt("closed") { () throws(KernelError) in try machine.assignIRQFD(closed, gsi: 24) }
            bench.attempt("negative") { () throws(KernelError) in try machine.assignIRQFD(-1, gsi: 24) }
            bench.attempt("resample socket") { () throws(KernelError) in
                try machine.assignIRQFD(notifier.rawValue, gsi: 16, resample: socket)
            }
            bench.attempt("resample closed") { () throws(KernelError) in
                try machine.assignIRQFD(notifier.rawValue, gsi: 16, resample: closed)
            }
            bench.attempt("deassign socket") { () throws(KernelError) in try machine.deassignIRQFD(socket, gsi: 24) }
            bench.attempt("deassign closed") { () throws(KernelError) in try machine.deassignIRQFD(closed, gsi: 24) }
        },
        KVMRule(
            "an eventfd has one irqfd, also through another descriptor",
            ["same: EBUSY", "other gsi: EBUSY", "duplicate: EBUSY", "again: ok", "arrived: [41]"]
        ) { bench in
            let notifier = try EventFD()
            let duplicate = try notifier.duplicate()
            let (raw, second) = (notifier.rawValue, duplicate.rawValue)
            try bench.route([24: 40, 25: 41])
            try bench.machine.assignIRQFD(raw, gsi: 24)
            bench.attempt("same") { () throws(KernelError) in try bench.machine.assignIRQFD(raw, gsi: 24) }
            bench.attempt("other gsi") { () throws(KernelError) in try bench.machine.assignIRQFD(raw, gsi: 25) }
            bench.attempt("duplicate") { () throws(KernelError) in try bench.machine.assignIRQFD(second, gsi: 25) }
            try bench.machine.deassignIRQFD(second, gsi: 24)
            bench.attempt("again") { () throws(KernelError) in try bench.machine.assignIRQFD(raw, gsi: 25) }
            try notifier.signal()
            try bench.arrivals([41])
        },
        KVMRule("several eventfds can raise one number", ["second: ok", "arrived: [40]", "arrived: [40]"]) { bench in
            let (first, second) = (try EventFD(), try EventFD())
            try bench.route([24: 40])
            try bench.machine.assignIRQFD(first.rawValue, gsi: 24)
            bench.attempt("second") { () throws(KernelError) in
                try bench.machine.assignIRQFD(second.rawValue, gsi: 24)
            }
            try first.signal()
            try bench.arrivals([40])
            try second.signal()
            try bench.arrivals([40])
        },
        KVMRule(
            "taking away what is not there is no error",
            ["never assigned: ok", "other gsi: ok", "arrived: [40]", "there: ok", "twice: ok"]
        ) { bench in
            let notifier = try EventFD()
            let raw = notifier.rawValue
            try bench.route([24: 40])
            bench.attempt("never assigned") { () throws(KernelError) in try bench.machine.deassignIRQFD(raw, gsi: 24) }
            try bench.machine.assignIRQFD(raw, gsi: 24)
            bench.attempt("other gsi") { () throws(KernelError) in try bench.machine.deassignIRQFD(raw, gsi: 25) }
            try notifier.signal()
            try bench.arrivals([40])
            bench.attempt("there") { () throws(KernelError) in try bench.machine.deassignIRQFD(raw, gsi: 24) }
            bench.attempt("twice") { () throws(KernelError) in try bench.machine.deassignIRQFD(raw, gsi: 24) }
        },
        KVMRule(
            "after it was taken away events stay in the eventfd, and arrive once when it is assigned again",
            ["arrived: []", "waiting: true", "arrived: [40]", "left: 3"]
        ) { bench in
            let notifier = try EventFD()
            try bench.route([24: 40])
            try bench.machine.assignIRQFD(notifier.rawValue, gsi: 24)
            try bench.machine.deassignIRQFD(notifier.rawValue, gsi: 24)
            for _ in 0..<3 { try notifier.signal() }
            try bench.arrivals([])
            bench.note("waiting: \(notifier.isSignalled)")
            try bench.machine.assignIRQFD(notifier.rawValue, gsi: 24)
            try bench.arrivals([40])
            bench.note("left: \(notifier.drain())")
        },
        KVMRule(
            "an event after a count that was left in place arrives too, and takes it along",
            ["arrived: [40]", "arrived: [40]", "left: 0"]
        ) { bench in
            let notifier = try EventFD()
            try bench.route([24: 40])
            try notifier.signal()
            try bench.machine.assignIRQFD(notifier.rawValue, gsi: 24)
            try bench.arrivals([40])
            try notifier.signal()
            try bench.arrivals([40])
            bench.note("left: \(notifier.drain())")
        },
        KVMRule(
            "an event right before the irqfd is taken away has arrived when that returns",
            ["left: 0", "arrived: [40]"]
        ) { bench in
            let notifier = try EventFD()
            try bench.route([24: 40])
            try bench.machine.assignIRQFD(notifier.rawValue, gsi: 24)
            try notifier.signal()
            try bench.machine.deassignIRQFD(notifier.rawValue, gsi: 24)
            bench.note("left: \(notifier.drain())")
            try bench.arrivals([40])
        },
        KVMRule(
            "a route that goes and comes back takes its irqfd along, and loses what came in between",
            ["arrived: []", "arrived: [41]"]
        ) { bench in
            let notifier = try EventFD()
            try bench.route([24: 40])
            try bench.machine.assignIRQFD(notifier.rawValue, gsi: 24)
            try bench.route([:])
            try notifier.signal()
            try bench.arrivals([])
            try bench.route([24: 41])
            try notifier.signal()
            try bench.arrivals([41])
        },
        KVMRule("a count that was left in place goes when the irqfd does", ["arrived: [40]", "left: 0"]) { bench in
            let notifier = try EventFD()
            try bench.route([24: 40])
            try notifier.signal()
            try bench.machine.assignIRQFD(notifier.rawValue, gsi: 24)
            try bench.arrivals([40])
            try bench.machine.deassignIRQFD(notifier.rawValue, gsi: 24)
            bench.note("left: \(notifier.drain())")
        },
        KVMRule(
            "events on a number without a route are lost",
            ["gsi 24: ok", "left: 0", "gsi 100000: ok", "left: 0", "arrived: []", "arrived: [40]"]
        ) { bench in
            let notifier = try EventFD()
            for gsi in [24, 100_000] as [UInt32] {
                bench.attempt("gsi \(gsi)") { () throws(KernelError) in
                    try bench.machine.assignIRQFD(notifier.rawValue, gsi: gsi)
                }
                try notifier.signal()
                // Waits for what is under way, which a route that comes soon enough would still get.
                try bench.machine.deassignIRQFD(notifier.rawValue, gsi: gsi)
                bench.note("left: \(notifier.drain())")
            }
            try bench.route([24: 40])
            try bench.machine.assignIRQFD(notifier.rawValue, gsi: 24)
            try bench.arrivals([])
            try notifier.signal()
            try bench.arrivals([40])
        },
    ]
}
