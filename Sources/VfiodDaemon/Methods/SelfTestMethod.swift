internal import InterruptSources
internal import PCI
internal import Passthrough
internal import Varlink
internal import VfiodAPI

extension VarlinkMethod {
    /// io.vfiod.SelfTest.
    static func selfTest(_ host: any DeviceOperations, _ audit: AuditLog) -> VarlinkMethod {
        VarlinkMethod { (asked: SelfTest.Parameters, call) async throws(VarlinkError) -> SelfTest.Reply in
            let selector = try DeviceSelector(parameter: asked.device)
            let request = try SelfTestRequest(asked)
            let address = try await host.device(selector)
            let reports = try await audit.record("selftest", address.description, by: call) {
                () async throws(PassthroughError) in
                try await host.selfTest(address, request) { line in
                    call.send(SelfTest.Reply(reports: nil, passed: nil, progress: line))
                }
            }
            return SelfTest.Reply(
                reports: reports.map(Wire.SelfTestReport.init),
                passed: !reports.isEmpty && reports.allSatisfy(\.passed), progress: nil)
        }
    }
}

extension SelfTestRequest {
    private static let defaultCount = 10

    /// Reads the parameters; each out of its range is an error that names it.
    init(_ asked: SelfTest.Parameters) throws(VarlinkError) {
        let types: [InterruptType]
        switch asked.type ?? "all" {
        case "all": types = InterruptType.allCases
        case let name:
            guard let type = InterruptType(rawValue: name) else { throw .invalidParameter("type") }
            types = [type]
        }
        if let vectors = asked.vectors, !(1...InterruptType.msix.maximumCount).contains(vectors) {
            throw .invalidParameter("vectors")
        }
        let count = asked.count ?? SelfTestRequest.defaultCount
        guard (1...SelfTestRequest.maximumCount).contains(count) else { throw .invalidParameter("count") }
        var fault: Fault?
        if let name = asked.fault {
            fault = Fault(rawValue: name)
            if fault == nil { throw .invalidParameter("fault") }
        }
        self.init(types: types, vectors: asked.vectors, count: count, fault: fault)
    }
}
