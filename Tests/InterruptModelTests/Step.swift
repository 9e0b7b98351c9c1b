import InterruptSources
import SystemPackage

/// The groups of a run. The first three are of one device, so that at most one can be on; the last line shares the first
/// one's pin.
enum Place: Int, CaseIterable, Sendable {
    case line, block, table, otherLine

    var type: InterruptType {
        switch self {
        case .line, .otherLine: .legacy
        case .block: .msi
        case .table: .msix
        }
    }
}

/// What is done in one step. Indexes wrap around the group's count, but for -1, and ``Step/beyond`` for the count itself.
enum Operation: Hashable, Sendable {
    /// Message data from `data` on, nil for what the group remembers; bit i of `masked` masks vector i, nil leaves masks.
    /// For MSI, 2 to the power of `size` vectors.
    case enable(Place, data: UInt32?, masked: UInt64? = nil, size: Int = 5)
    /// A block goes on as 2 to the power of `size` vectors.
    case enlarge(Place, data: UInt32, masked: UInt64? = nil, size: Int = 5)
    case disable(Place)
    /// The device's owner switches, as ``enable(_:data:masked:size:)`` does; nil to no type at all.
    case switchTo(Place?, data: UInt32? = nil, masked: UInt64? = nil, size: Int = 5)
    case update(Place, Int, count: Int = 1, data: UInt32, masked: Bool? = nil)
    case mask(Place, Int, count: Int = 1, releasing: Bool = false)
    case unmask(Place, Int, count: Int = 1)
    case trigger(Place, Int)
    case handOut(Place, Int)
    /// Vectors get notifiers that somebody else made and, with `counted`, has written already; or their own again.
    case handIn(Place, Int, count: Int = 1, foreign: Bool, counted: Bool = false)
    case handInResample(Place, foreign: Bool)
    /// Whoever has a notifier that was handed out writes it.
    case signalOutside(Place, Int)
    case destroy(Place)
    /// A group over so many of the device's vectors, in place of one with another number.
    case create(Place, count: Int)
    /// The device sends a message, if a block or a table is on.
    case raise(Int)
    /// The device of this line asserts it, or no longer.
    case level(Place, Bool)
    /// The guest ends the interrupt of the lines' pin.
    case end
    /// Other users of the host take vectors, or with a negative number give some back.
    case takeHostVectors(Int)
    case allocatable(Int)
    /// Calls that are refused for what they ask.
    case wrong(Place, Mistake)

    enum Mistake: Int, CaseIterable, Sendable {
        case tooManyConfigurations, noConfigurations, wrongKind, wrongKindAtUpdate, differentMessages, refusedAddress
    }
}

/// Kernel calls of one step that are refused.
struct Fault: Hashable, Sendable {
    /// The first of them, counted from 0.
    var call: Int
    /// How many; with more than one, what is undone can fail too.
    var count = 1
    var errno: Errno
    /// At which vector of a VFIO_DEVICE_SET_IRQS it strikes; nil for before the first.
    var vector: Int?
    /// A vector that the device raises right before that, with those before it changed over already.
    var raising: Int?
}

/// An event that comes right before one of the step's kernel calls.
struct Intrusion: Hashable, Sendable {
    var call: Int
    /// The vector that is raised, or the line that changes its level.
    var event: Operation
}

/// One step of a run.
struct Step: Hashable, Sendable {
    static let beyond = 4096

    var operation: Operation
    var fault: Fault?
    var intrusion: Intrusion?

    init(_ operation: Operation, fault: Fault? = nil, during intrusion: Intrusion? = nil) {
        self.operation = operation
        self.fault = fault
        self.intrusion = intrusion
    }
}

// Steps as they are written in a test.
extension Step: CustomStringConvertible {
    var description: String {
        var parts = [operation.description]
        if let fault { parts.append("fault: \(fault)") }
        if let intrusion { parts.append("during: .init(call: \(intrusion.call), event: \(intrusion.event))") }
        return "Step(\(parts.joined(separator: ", ")))"
    }
}

extension Operation: CustomStringConvertible {
    var description: String {
        switch self {
        case .enable(let place, let data, let masked, let size):
            return ".enable(.\(place), \(Operation.configurations(data, masked, size)))"
        case .switchTo(let place, let data, let masked, let size):
            let type = place.map { ".\($0)" } ?? "nil"
            return ".switchTo(\(type), \(Operation.configurations(data, masked, size)))"
        case .enlarge(let place, let data, let masked, let size):
            return ".enlarge(.\(place), \(Operation.configurations(data, masked, size)))"
        case .disable(let place): return ".disable(.\(place))"
        case .update(let place, let index, let count, let data, let masked):
            let masks = masked.map { ", masked: \($0)" } ?? ""
            return ".update(.\(place), \(index), count: \(count), data: \(data)\(masks))"
        case .mask(let place, let index, let count, let releasing):
            return ".mask(.\(place), \(index), count: \(count)\(releasing ? ", releasing: true" : ""))"
        case .unmask(let place, let index, let count): return ".unmask(.\(place), \(index), count: \(count))"
        case .trigger(let place, let index): return ".trigger(.\(place), \(index))"
        case .handOut(let place, let index): return ".handOut(.\(place), \(index))"
        case .handIn(let place, let index, let count, let foreign, let counted):
            return ".handIn(.\(place), \(index), count: \(count), foreign: \(foreign), counted: \(counted))"
        case .handInResample(let place, let foreign): return ".handInResample(.\(place), foreign: \(foreign))"
        case .signalOutside(let place, let index): return ".signalOutside(.\(place), \(index))"
        case .destroy(let place): return ".destroy(.\(place))"
        case .create(let place, let count): return ".create(.\(place), count: \(count))"
        case .raise(let index): return ".raise(\(index))"
        case .level(let place, let asserted): return ".level(.\(place), \(asserted))"
        case .end: return ".end"
        case .takeHostVectors(let count): return ".takeHostVectors(\(count))"
        case .allocatable(let count): return ".allocatable(\(count))"
        case .wrong(let place, let mistake): return ".wrong(.\(place), .\(mistake))"
        }
    }

    private static func configurations(_ data: UInt32?, _ masked: UInt64?, _ size: Int) -> String {
        let masks = masked.map { ", masked: 0x" + String($0, radix: 16) } ?? ""
        return "data: \(data.map { "\($0)" } ?? "nil")\(masks), size: \(size)"
    }
}

extension Fault: CustomStringConvertible {
    var description: String {
        let number = "Errno(rawValue: \(errno.rawValue))"
        let vector = vector.map { ", vector: \($0)" } ?? ""
        let event = raising.map { ", raising: \($0)" } ?? ""
        return ".init(call: \(call)\(count == 1 ? "" : ", count: \(count)"), errno: \(number)\(vector)\(event))"
    }
}
