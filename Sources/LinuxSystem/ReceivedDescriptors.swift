internal import SystemPackage

/// Descriptors that somebody else sent, of whatever kind they are, closed aside when this goes.
///
/// What is wanted of them is duplicated, once it is known to be of a kind that blocks nobody.
public final class ReceivedDescriptors: Sendable {
    /// Their numbers in the order in which they came, valid as long as this object is referenced.
    public let rawValues: [CInt]
    private let owned: [CInt]
    private let parts: [ReceivedDescriptors]
    private let closer: DescriptorCloser

    init(adopting rawValues: [CInt], closer: DescriptorCloser) {
        (self.rawValues, owned, parts, self.closer) = (rawValues, rawValues, [], closer)
    }

    /// Those of `earlier`, then those of `later`, which stay theirs to close.
    public init(_ earlier: ReceivedDescriptors, then later: ReceivedDescriptors) {
        rawValues = earlier.rawValues + later.rawValues
        (owned, parts, closer) = ([], [earlier, later], later.closer)
    }

    deinit { closer.close(owned) }

    /// A second descriptor of an eventfd that came; throws EINVAL for anything else.
    public func eventFD(at index: Int) throws(KernelError) -> EventFD {
        let raw = try rawValue(at: index)
        guard EventFD.isEventFD(raw) else {
            throw KernelError("eventfd", on: "received descriptor \(index) is no eventfd", .invalidArgument)
        }
        return try EventFD(adopting: try duplicateDescriptor(raw))
    }

    /// A second descriptor of memory that came; throws EINVAL for anything else.
    public func memory(at index: Int) throws(KernelError) -> MemoryFile {
        try MemoryFile(duplicating: try rawValue(at: index))
    }

    private func rawValue(at index: Int) throws(KernelError) -> CInt {
        guard rawValues.indices.contains(index) else {
            throw KernelError("received descriptor", on: "\(index) of \(rawValues.count)", .badFileDescriptor)
        }
        return rawValues[index]
    }
}
