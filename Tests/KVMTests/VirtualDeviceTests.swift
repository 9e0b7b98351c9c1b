import InterruptSources
import KVM
import KVMInterrupts
import LinuxSystem
import TestSupport
import Testing

/// A virtual device's groups into a machine: the same on the fake and on the real KVM.
@Suite("A virtual device in a machine")
struct VirtualDeviceTests {
    @Test("the contract holds on the fake KVM", arguments: InterruptType.allCases)
    func fake(_ type: InterruptType) throws {
        let kernel = FakeKernel()
        kernel.install(FakeKVM(), at: "/dev/kvm")
        try contract(type, KVMBench(kernel))
    }

    @Test(
        "the contract holds on a real KVM", .enabled(if: Requirements.kvm, "needs /dev/kvm"),
        arguments: InterruptType.allCases)
    func real(_ type: InterruptType) throws {
        try contract(type, KVMBench(LiveKernel()))
    }

    private func contract(_ type: InterruptType, _ bench: KVMBench) throws {
        if type == .legacy {
            try bench.machine.setRedirection(
                pin: 16, IOAPICRedirection(vector: 64, destination: 0, isLevel: false))
        }
        let interrupts = try VirtualInterrupts([.legacy: 1, .msi: 4, .msix: 4])
        let group = try InterruptSourceGroup(
            source: try #require(interrupts.source(type)), sink: KVMInterruptSink(bench.machine),
            pin: type == .legacy ? 16 : nil)
        let last = group.count - 1
        let raise = {
            if type == .legacy { interrupts.setLine(asserted: true) } else { interrupts.raise(last) }
        }
        let handle = {
            interrupts.setLine(asserted: false)
            if type != .legacy { return }
            // No guest runs that would end the level; taking the irqfd away does.
            try group.disable()
            try group.enable()
        }
        let vector = 64 + UInt32(last)
        let configurations = (0..<group.count).map {
            InterruptConfiguration(
                message: type == .legacy ? nil : InterruptMessage(address: 0xfee0_0000, data: 64 + UInt32($0)))
        }
        try group.enable(configurations)
        for _ in 0..<3 {
            raise()
            try expect([vector], bench)
            try handle()
        }
        for raises in 0..<3 {
            try group.mask(last)
            for _ in 0..<raises { raise() }
            try expect([], bench)
            #expect(try group.pendingState(last) == (raises > 0))
            try group.unmask(last)
            try expect(raises > 0 ? [vector] : [], bench)
            try handle()
        }
        if type != .legacy {
            try group.mask(last)
            try group.update(
                last, InterruptConfiguration(message: InterruptMessage(address: 0xfee0_0000, data: 128 + UInt32(last))))
            try group.trigger(last)
            try expect([], bench)
            try group.unmask(last)
            try expect([128 + UInt32(last)], bench)
        }
        try group.mask(last)
        raise()
        try group.disable()
        interrupts.setLine(asserted: false)
        try group.unmask(last)
        try group.enable()
        try expect([], bench)
        raise()
        try expect([type == .legacy ? 64 : 128 + UInt32(last)], bench)
        group.destroy()
        #expect(throws: InterruptError.destroyed) { try group.trigger(last) }
    }

    private func expect(_ vectors: [UInt32], _ bench: KVMBench, line: Int = #line) throws {
        try bench.arrivals(vectors)
        #expect(bench.log.last == "arrived: \(vectors)", "from line \(line)")
    }
}
