internal import CFloor
internal import InterruptSources

/// One operation on KVM's half, measured on both sides again and again: for a benchmark library that decides how often.
public struct PairedBenchmark: Sendable {
    /// For example `MSI-X enable, 256 vectors, 0 foreign routes`.
    public let name: String
    private let scenario: Scenario
    private let operation: Operation

    /// Those that vfiod has goals for.
    public static let all: [PairedBenchmark] = [1, 32, 256, 2048].flatMap { vectors in
        [Operation.enable, .disable, .update, .maskAndUnmask, .trigger, .bringUp].map { operation in
            PairedBenchmark(
                Scenario(type: .msix, vectors: vectors, foreignRoutes: 0, device: nil), operation)
        }
    }

    private init(_ scenario: Scenario, _ operation: Operation) {
        self.scenario = scenario
        self.operation = operation
        name = Report.name(scenario, operation)
    }

    /// The median nanoseconds of the operation in one round of each side.
    public func round() throws -> (floor: Int, ours: Int) {
        _ = floor_pin()
        var floor = try FloorSide(foreignRoutes: 0, device: nil)
        var ours = try GroupSide(foreignRoutes: 0, kernel: CountingKernel(), device: nil)
        let measured = try scenario.measure(&floor, &ours, rounds: 1).first { $0.operation == operation }
        return (Int(measured?.floorMedian ?? 0), Int(measured?.ourMedian ?? 0))
    }
}
