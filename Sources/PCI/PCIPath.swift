/// The way from a root bus to a function, as somebody names it.
///
/// As text, `0000:00:1c.0/00.0`: the function on the root bus, whose domain may be left out where it is 0, and then the
/// device and function number on each bus below. Bus numbers below a root bus change with what else is plugged in. A
/// whole address may stand there all the same, and then all of it has to agree.
public struct PCIPath: Hashable, Sendable, LosslessStringConvertible {
    private enum Hop: Hashable, Sendable {
        case whole(PCIAddress)
        case below(device: UInt8, function: UInt8)
    }

    private let hops: [Hop]

    /// Reads the text form; nil for anything else.
    public init?(_ text: String) {
        var hops: [Hop] = []
        for part in text.split(separator: "/", omittingEmptySubsequences: false) {
            if hops.isEmpty || part.contains(":") {
                guard let address = PCIAddress(abbreviated: String(part)) else { return nil }
                hops.append(.whole(address))
            } else {
                guard let address = PCIAddress("0000:00:\(part)") else { return nil }
                hops.append(.below(device: address.device, function: address.function))
            }
        }
        self.hops = hops
    }

    /// The text form.
    public var description: String {
        hops.map { hop in
            switch hop {
            case .whole(let address): address.description
            case .below(let device, let function): "\(hex(UInt32(device), 2)).\(function)"
            }
        }.joined(separator: "/")
    }

    /// Whether `route`, from the function on a root bus to the one it is about, is this way.
    public func leads(along route: [PCIAddress]) -> Bool {
        guard hops.count == route.count else { return false }
        return zip(hops, route).allSatisfy { hop, address in
            switch hop {
            case .whole(let wanted): wanted == address
            case .below(let device, let function): (device, function) == (address.device, address.function)
            }
        }
    }
}
