// What a call is refused for before anything is done.
extension GroupState {
    func requireLife() throws(InterruptError) {
        if phase == .destroyed { throw .destroyed }
    }

    func require(_ index: Int) throws(InterruptError) {
        try require(first: index, count: 1)
    }

    func require(_ indices: Range<Int>) throws(InterruptError) {
        // Of bounds that nobody has checked, the number of indices between them may not be one.
        guard indices.lowerBound >= 0 else { throw .noSuchVector(index: indices.lowerBound, count: count) }
        try require(first: indices.lowerBound, count: indices.count)
    }

    func require(first: Int, count: Int) throws(InterruptError) {
        guard first >= 0, first < self.count || first == self.count && count == 0 else {
            throw .noSuchVector(index: first, count: self.count)
        }
        guard count <= self.count - first else { throw .noSuchVector(index: self.count, count: self.count) }
    }

    /// The configurations as they are kept.
    func checked(
        _ given: [InterruptConfiguration], _ masks: [Bool]
    ) throws(InterruptError) -> [InterruptConfiguration] {
        let fits = type == .msi ? given.count.nonzeroBitCount == 1 && given.count <= count : given.count == count
        guard fits else { throw .wrongConfigurationCount(given: given.count, needed: count) }
        for (configuration, masked) in zip(given, masks) { try checkKind(configuration, masked: masked) }
        guard type == .msi else { return given }
        let block = try MessageBlock(given, size: given.count)
        var result = given
        for index in result.indices { result[index].message = block.message(index) }
        return result
    }

    /// A vector that is to raise a number of the VM needs a message. One of an MSI-X table that is masked does not yet:
    /// most of a large table is never used.
    func checkKind(_ configuration: InterruptConfiguration, masked: Bool) throws(InterruptError) {
        let fits: Bool
        switch (type, wiring.hasSink) {
        case (.legacy, _): fits = configuration.message == nil
        case (_, false): fits = true
        case (.msi, true): fits = configuration.message != nil
        case (.msix, true): fits = configuration.message != nil || masked
        }
        if !fits { throw .wrongConfigurationKind(type) }
    }
}

/// The messages of an MSI block: one pair of address and data, in whose low bits the index stands (PCI 3.0 section
/// 6.8.1.6).
struct MessageBlock {
    private let pair: InterruptMessage?
    private let low: UInt32

    /// The block of `size` vectors, a power of two, to which these belong. Throws
    /// ``InterruptError/differentMessages``.
    init(_ given: [InterruptConfiguration], size: Int) throws(InterruptError) {
        let low = UInt32(truncatingIfNeeded: size &- 1)
        let messages = given.map { configuration in
            configuration.message.map { message in
                var message = message
                message.data &= ~low
                return message
            }
        }
        pair = messages.first ?? nil
        self.low = low
        if messages.contains(where: { $0 != pair }) { throw .differentMessages }
    }

    func message(_ index: Int) -> InterruptMessage? {
        var message = pair
        message?.data |= UInt32(truncatingIfNeeded: index) & low
        return message
    }
}
