internal import CFloor
internal import InterruptSources
internal import LinuxSystem
internal import PCI
internal import VFIO
internal import VFIOInterrupts

/// Everything that can be measured on this machine, and what cannot.
public struct BenchmarkRun {
    private static let counts = [1, 32, 256, 2048]
    private static let foreignRoutes = 730
    // Two processors have fewer interrupt vectors left than a large device has.
    private static let largestOnDevice = 256

    private var measurements: [Measurement] = []
    private var notRun: [String] = []

    /// Nothing measured yet.
    public init() {}

    /// Measures. With `once`, every operation is done once only, to count requests; with `onlyDevices`, only what real
    /// devices raise.
    public mutating func measure(once: Bool, onlyDevices: Bool) {
        // A processor's caches and clock are its own.
        _ = floor_pin()
        if !onlyDevices {
            attempt("KVM, with a source that costs nothing") { run throws in try run.measureKVM(once: once) }
        }
        let devices = BoundFunction.all()
        if devices.isEmpty { notRun.append("VFIO: no PCI function is bound to vfio-pci") }
        for function in devices {
            attempt("VFIO, \(function.address)") { run throws in try run.measure(function, once: once) }
        }
    }

    /// One table of all that was measured, and what was not.
    public var report: String { (measurements.isEmpty ? "" : Report.table(measurements)) + missing }

    /// What could not be measured on this machine, one line each.
    public var missing: String { notRun.map { "not run: \($0)\n" }.joined() }

    /// Where vfiod made more requests of the kernel than it promises; empty is good.
    public var excesses: [String] {
        measurements.compactMap { measurement in
            guard let allowed = measurement.scenario.allowedRequests(measurement.operation),
                measurement.ourRequests > allowed
            else { return nil }
            let name = Report.name(measurement.scenario, measurement.operation)
            return "\(name): \(measurement.ourRequests) requests, \(allowed) allowed"
        }
    }

    private mutating func measureKVM(once: Bool) throws {
        // To count requests neither other routes nor the largest table are needed.
        for foreign in once ? [0] : [0, BenchmarkRun.foreignRoutes] {
            var floor = try FloorSide(foreignRoutes: foreign, device: nil)
            var ours = try GroupSide(foreignRoutes: foreign, kernel: CountingKernel(), device: nil)
            let counts = once ? Array(BenchmarkRun.counts.dropLast()) : BenchmarkRun.counts
            var scenarios = counts.map { ($0, InterruptType.msix) }
            if foreign == 0 { scenarios += [(16, .msi), (1, .legacy)] }
            for (vectors, type) in scenarios {
                let scenario = Scenario(type: type, vectors: vectors, foreignRoutes: foreign, device: nil)
                measurements += try scenario.measure(&floor, &ours, rounds: once ? 0 : scenario.rounds)
            }
        }
    }

    private mutating func measure(_ function: BoundFunction, once: Bool) throws {
        let kernel = CountingKernel()
        let device = try VFIODevice.open(function.address, iommuGroup: function.iommuGroup, kernel: kernel)
        let interrupts = VFIOInterrupts(device)
        var floor = try FloorSide(foreignRoutes: 0, device: BoundFunction.descriptor())
        var ours = try GroupSide(foreignRoutes: 0, kernel: kernel, device: interrupts)
        var scenarios: [(Int, InterruptType)] = []
        if let source = try interrupts.source(.msix) {
            let largest = min(source.count, BenchmarkRun.largestOnDevice)
            scenarios += BenchmarkRun.counts.filter { $0 <= largest }.map { ($0, .msix) }
        }
        if let source = try interrupts.source(.msi) { scenarios.append((source.count, .msi)) }
        if try interrupts.source(.legacy) != nil { scenarios.append((1, .legacy)) }
        for (vectors, type) in scenarios {
            let scenario = Scenario(
                type: type, vectors: vectors, foreignRoutes: 0, device: "\(function.address)")
            measurements += try scenario.measure(&floor, &ours, rounds: once ? 0 : scenario.rounds)
        }
    }

    private mutating func attempt(_ what: String, _ body: (inout BenchmarkRun) throws -> Void) {
        do { try body(&self) } catch { notRun.append("\(what): \(error)") }
    }
}
