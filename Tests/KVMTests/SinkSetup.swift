import InterruptSources
import KVM
import KVMInterrupts
import LinuxSystem
import TestSupport

/// A sink over a fake machine.
final class SinkSetup {
    let kernel = FakeKernel()
    let bench: KVMBench
    let sink: KVMInterruptSink

    init(keeping kept: [KVMRoute] = KVMRoute.defaults, hasWideAPICIDs: Bool = false) throws {
        kernel.install(FakeKVM(), at: "/dev/kvm")
        bench = try KVMBench(kernel)
        sink = KVMInterruptSink(bench.machine, keeping: kept, hasWideAPICIDs: hasWideAPICIDs)
        kernel.forgetCalls()
    }

    var commits: Int { kernel.calls.count { $0 == "KVM_SET_GSI_ROUTING" } }

    /// Whether an event of `number` arrives as `vector`, or nowhere.
    func arrivals(of number: Int, _ expected: [UInt32]) throws {
        let notifier = try EventFD()
        try sink.attach(notifier, to: number, resample: nil)
        try notifier.signal()
        try bench.arrivals(expected)
        try sink.detach(notifier, from: number)
    }
}

/// Changes in the order that a sink takes.
func changes(_ routes: [Int: InterruptRoute?]) -> [RouteChange] {
    routes.sorted { $0.key < $1.key }.map { RouteChange($0.key, $0.value) }
}

/// A route to the virtual CPU of a ``KVMBench``.
func message(_ vector: UInt32, high: UInt64 = 0) -> InterruptRoute? {
    .message(InterruptMessage(address: high << 32 | 0xfee0_0000, data: vector))
}
