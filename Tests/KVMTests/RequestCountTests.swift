import InterruptSources
import KVM
import KVMInterrupts
import LinuxSystem
import PCI
import TestSupport
import Testing
import VFIO
import VFIOInterrupts

/// What is asked of the kernel, counted: each request costs microseconds, and a table or an irqfd taken away waits for
/// grace periods of the whole host. All of it on the fakes of VFIO and KVM, with the code between them as it is.
@Suite("Requests")
struct RequestCountTests {
    /// A group over a device and a machine of a fake kernel that counts.
    private final class Counted {
        let group: InterruptSourceGroup
        private let kernel = FakeKernel()
        private let device: VFIODevice

        init(_ type: InterruptType, count: UInt32, isLinux6dot5: Bool = true) throws {
            let vfio = FakeVFIO(hostVectors: 4096)
            var configuration = FakeVFIODevice.Configuration(
                intxCount: 1, msiCount: type == .msi ? count : 0, msixCount: type == .msix ? count : 0)
            configuration.isLinux6dot5 = isLinux6dot5
            vfio.add(FakeVFIODevice("0000:00:10.0", configuration), iommuGroup: 7)
            kernel.install(vfio, at: "/dev/vfio/")
            kernel.install(FakeKVM(), at: "/dev/kvm")
            let address = try #require(PCIAddress("0000:00:10.0"))
            device = try VFIODevice.open(address, iommuGroup: 7, kernel: kernel)
            let machine = try KVMSystem(kernel: kernel).createVirtualMachine()
            try machine.createInterruptControllers()
            let source = try #require(try VFIOInterrupts(device).source(type))
            group = try InterruptSourceGroup(
                source: source, sink: KVMInterruptSink(machine), pin: type == .legacy ? 16 : nil)
        }

        /// The requests that `body` makes, by name.
        func requests(_ body: (InterruptSourceGroup) throws -> Void) rethrows -> Requests {
            kernel.forgetCalls()
            try body(group)
            let calls = kernel.calls
            return Requests(
                tables: calls.count { $0 == "KVM_SET_GSI_ROUTING" }, irqfds: calls.count { $0 == "KVM_IRQFD" },
                sets: calls.count { $0 == "VFIO_DEVICE_SET_IRQS" },
                others: calls.count {
                    !["KVM_SET_GSI_ROUTING", "KVM_IRQFD", "VFIO_DEVICE_SET_IRQS"].contains($0)
                })
        }

        func enable(masked: Bool = false) throws {
            try group.enable((0..<group.count).map { configuration($0, masked: masked) })
        }

        /// The message of one vector: another one for each `generation`.
        func configuration(_ index: Int, _ generation: UInt32 = 0, masked: Bool? = nil) -> InterruptConfiguration {
            if group.type == .legacy { return InterruptConfiguration(startsMasked: masked) }
            let vector = group.type == .msi ? 64 : 64 + UInt32(index % 100)
            let message = InterruptMessage(address: 0xfee0_0000, data: vector + generation * 64)
            return InterruptConfiguration(message: message, startsMasked: masked)
        }
    }

    private struct Requests: Equatable {
        /// KVM_SET_GSI_ROUTING.
        var tables = 0
        /// KVM_IRQFD.
        var irqfds = 0
        /// VFIO_DEVICE_SET_IRQS.
        var sets = 0
        /// Any other.
        var others = 0
    }

    /// The largest group there is, where the fakes of VFIO and KVM would take seconds: over a kernel that agrees to
    /// everything.
    private final class LargeGroup {
        let group: InterruptSourceGroup
        private let kernel = AgreeableKernel()
        private let calls = ScriptedCalls()

        init() throws {
            try raiseDescriptorLimit()
            let machine = KVMVirtualMachine(kernel: kernel, adopting: try kernel.open("/dev/kvm", .readWrite))
            group = try InterruptSourceGroup(
                source: FakeInterruptSource(.msix, count: 2048, calls: calls), sink: KVMInterruptSink(machine))
        }

        var requests: Requests {
            let names = kernel.names.withLock { $0 }
            return Requests(
                tables: names["KVM_SET_GSI_ROUTING", default: 0], irqfds: names["KVM_IRQFD", default: 0],
                sets: calls.names.count, others: names.count { !["KVM_SET_GSI_ROUTING", "KVM_IRQFD"].contains($0.key) })
        }

        func forget() {
            kernel.names.withLock { $0 = [:] }
            calls.restart()
        }

        func messages(_ generation: UInt32, masked: Bool? = nil) -> [InterruptConfiguration] {
            (0..<2048 as Range<UInt32>).map { index in
                let message = InterruptMessage(address: 0xfee0_0000, data: 64 + index % 100 + generation)
                return InterruptConfiguration(message: message, startsMasked: masked)
            }
        }
    }

    @Test("counted: to create a group asks the kernel for nothing, and so does to trigger a vector")
    func createAndTrigger() throws {
        let counted = try Counted(.msix, count: 32)
        try counted.enable()
        let nothing = try counted.requests { group in
            for index in 0..<32 { try group.trigger(index) }
            _ = group.snapshot()
        }
        #expect(nothing == Requests())
    }

    @Test(
        "counted: enable is one table, an irqfd a vector, and one SET_IRQS for all; disable likewise",
        arguments: [1, 32])
    func enableAndDisable(count: Int) throws {
        for isLinux6dot5 in [true, false] {
            let counted = try Counted(.msix, count: UInt32(count), isLinux6dot5: isLinux6dot5)
            for _ in 0..<2 {
                let up = try counted.requests { _ in try counted.enable() }
                #expect(up == Requests(tables: 1, irqfds: count, sets: 1))
                #expect(try counted.requests { _ in try counted.enable() } == Requests())
                let down = try counted.requests { try $0.disable() }
                #expect(down == Requests(tables: 1, irqfds: count, sets: 1))
                #expect(try counted.requests { try $0.disable() } == Requests())
            }
        }
    }

    @Test("counted: what is masked or off costs nothing to take down")
    func masked() throws {
        let counted = try Counted(.msix, count: 64)
        #expect(try counted.requests { _ in try counted.enable(masked: true) } == Requests(sets: 1))
        try counted.group.unmask(7)
        #expect(try counted.requests { try $0.disable() } == Requests(tables: 1, irqfds: 1, sets: 1))
        #expect(counted.requests { $0.destroy() } == Requests())
    }

    @Test("counted: update of a live vector is one table, of an unchanged or masked one none")
    func update() throws {
        let counted = try Counted(.msix, count: 32)
        #expect(try counted.requests { try $0.update(3, counted.configuration(3)) } == Requests())
        try counted.enable()
        #expect(try counted.requests { try $0.update(3, counted.configuration(3)) } == Requests())
        #expect(try counted.requests { try $0.update(3, counted.configuration(3, 1)) } == Requests(tables: 1))
        #expect(try counted.requests { try $0.update(3, counted.configuration(3, 1)) } == Requests())
        try counted.group.mask(3)
        #expect(try counted.requests { try $0.update(3, counted.configuration(3, 2)) } == Requests())
        let together = try counted.requests { group in
            try group.update(first: 0, (0..<32).map { counted.configuration($0, 3) })
        }
        #expect(together == Requests(tables: 1))
    }

    @Test("counted: an MSI block has one message, and so its update is one table for all vectors")
    func updateBlock() throws {
        let counted = try Counted(.msi, count: 16)
        try counted.enable()
        #expect(try counted.requests { try $0.update(0, counted.configuration(0, 1)) } == Requests(tables: 1))
        #expect(try counted.requests { try $0.update(9, counted.configuration(0, 1)) } == Requests())
    }

    @Test("counted: 2,048 messages written while masked then unmasked together are one table, one connection")
    func writtenWhileMasked() throws {
        let large = try LargeGroup()
        try large.group.enable(large.messages(0, masked: true))
        large.forget()
        for (index, message) in large.messages(1).enumerated() { try large.group.update(index, message) }
        #expect(large.requests == Requests())
        try large.group.unmask(0..<2048)
        #expect(large.requests == Requests(tables: 1, irqfds: 2048, sets: 1))
    }

    @Test("counted: 2,048 messages written while off then enabled together are one table, and as many others together")
    func writtenWhileOff() throws {
        let large = try LargeGroup()
        for (index, message) in large.messages(0).enumerated() { try large.group.update(index, message) }
        #expect(large.requests == Requests())
        try large.group.enable()
        #expect(large.requests == Requests(tables: 1, irqfds: 2048, sets: 1))
        large.forget()
        try large.group.update(first: 0, large.messages(1))
        #expect(large.requests == Requests(tables: 1))
    }

    @Test("counted: mask and unmask of MSI-X are one request each, the message changed in between one more")
    func maskMSIX() throws {
        let counted = try Counted(.msix, count: 32)
        try counted.enable()
        for generation in 1...3 as ClosedRange<UInt32> {
            #expect(try counted.requests { try $0.mask(5) } == Requests(sets: 1))
            #expect(try counted.requests { try $0.mask(5) } == Requests())
            #expect(try counted.requests { try $0.unmask(5) } == Requests(sets: 1))
            #expect(try counted.requests { try $0.unmask(5) } == Requests())
            try counted.group.mask(5)
            try counted.group.update(5, counted.configuration(5, generation))
            #expect(try counted.requests { try $0.unmask(5) } == Requests(tables: 1, sets: 1))
        }
        // What a function mask is.
        #expect(try counted.requests { try $0.mask(0..<32) } == Requests(sets: 1))
        #expect(try counted.requests { try $0.unmask(0..<32) } == Requests(sets: 1))
    }

    @Test("counted: mask and unmask of MSI are one request each, which leave VFIO alone")
    func maskMSI() throws {
        let counted = try Counted(.msi, count: 16)
        try counted.enable()
        for _ in 0..<2 {
            #expect(try counted.requests { try $0.mask(5) } == Requests(irqfds: 1))
            #expect(try counted.requests { try $0.unmask(5) } == Requests(irqfds: 1))
        }
    }

    @Test("counted: a larger MSI block is one table, an irqfd for each new vector, and VFIO off and on") func enlarge()
        throws
    {
        let counted = try Counted(.msi, count: 8)
        try counted.group.enable((0..<2).map { counted.configuration($0) })
        let requests = try counted.requests { try $0.enlarge((0..<8).map { counted.configuration($0) }) }
        #expect(requests == Requests(tables: 1, irqfds: 6, sets: 2))
    }

    @Test("counted: a line takes an irqfd, and no table where its pin has a route; its mask also swaps its trigger")
    func line() throws {
        let counted = try Counted(.legacy, count: 1)
        for _ in 0..<2 {
            // Trigger, unmask eventfd, and masked and unmasked once to read the line again.
            #expect(try counted.requests { _ in try counted.enable(masked: false) } == Requests(irqfds: 1, sets: 4))
            // Neither the guest's EOI nor its INTx disable bit must unmask it: its unmask eventfd goes, it is masked, and
            // its trigger is swapped for one of ours; and KVM's worker must have raised what it had to, which taking its
            // irqfd away waits for. All of that is taken back, with the mask held until the last.
            #expect(try counted.requests { try $0.mask(0) } == Requests(irqfds: 1, sets: 3))
            #expect(try counted.requests { try $0.unmask(0) } == Requests(irqfds: 1, sets: 4))
            #expect(try counted.requests { try $0.disable() } == Requests(irqfds: 1, sets: 2))
        }
    }

    @Test("counted: bring-up as a Linux guest does it is one table, one irqfd and one connection an unmask")
    func bringUp() throws {
        let counted = try Counted(.msix, count: 64)
        // It turns the type on with all vectors masked, writes each message in three parts, and unmasks each.
        let empty = InterruptConfiguration(message: InterruptMessage(address: 0, data: 0), startsMasked: true)
        #expect(try counted.requests { try $0.enable(Array(repeating: empty, count: 64)) } == Requests(sets: 1))
        for index in 0..<64 {
            let one = try counted.requests { group in
                for generation in 0..<3 as Range<UInt32> {
                    try group.update(index, counted.configuration(index, generation))
                }
                try group.unmask(index)
            }
            #expect(one == Requests(tables: 1, irqfds: 1, sets: 1))
        }
    }
}
