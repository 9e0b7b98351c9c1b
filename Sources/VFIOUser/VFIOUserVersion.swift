internal import FoundationEssentials

/// What one side of a connection can take (vfio-user specification, "Version", capabilities).
public struct VFIOUserCapabilities: Hashable, Sendable, Codable {
    /// The most descriptors that it takes with one message.
    public var maximumDescriptors: Int?
    /// The most data that it takes in one read or write, bytes.
    public var maximumTransfer: Int?
    /// The page sizes of its memory, a bit each.
    public var pageSizes: UInt64?
    /// The most ranges of memory that it maps.
    public var maximumMappings: Int?

    /// Creates capabilities.
    public init(
        maximumDescriptors: Int? = nil, maximumTransfer: Int? = nil, pageSizes: UInt64? = nil,
        maximumMappings: Int? = nil
    ) {
        (self.maximumDescriptors, self.maximumTransfer) = (maximumDescriptors, maximumTransfer)
        (self.pageSizes, self.maximumMappings) = (pageSizes, maximumMappings)
    }

    private enum CodingKeys: String, CodingKey {
        case maximumDescriptors = "max_msg_fds"
        case maximumTransfer = "max_data_xfer_size"
        case pageSizes = "pgsizes"
        case maximumMappings = "max_dma_maps"
    }

    fileprivate var isSane: Bool {
        let transfer = maximumTransfer.map { $0 > 0 } ?? true
        let pages = pageSizes.map { $0 != 0 && $0 % 4096 == 0 } ?? true
        return (maximumDescriptors.map { (0...1024).contains($0) } ?? true) && transfer && pages
            && (maximumMappings.map { $0 > 0 } ?? true)
    }
}

/// The version that one side proposes or agrees to, with what it can take.
public struct VFIOUserVersion: Hashable, Sendable {
    /// Changes when messages of before are understood no more: 0 so far.
    public let major: UInt16
    /// Changes when there are more of them.
    public let minor: UInt16
    /// What it can take.
    public let capabilities: VFIOUserCapabilities

    /// The one that is spoken here.
    public static let current = (major: UInt16(0), minor: UInt16(1))

    // More than any client has to say.
    private static let textLimit = 4096

    private struct Text: Codable {
        var capabilities: VFIOUserCapabilities?
    }

    /// Creates a version.
    public init(major: UInt16, minor: UInt16, capabilities: VFIOUserCapabilities) {
        (self.major, self.minor, self.capabilities) = (major, minor, capabilities)
    }

    /// Reads a payload: two numbers, and JSON that ends with a NUL, or nothing. Nil for anything else, and for
    /// capabilities with which nothing could be done.
    public init?(_ payload: [UInt8]) {
        var reader = PayloadReader(payload)
        guard let major = reader.number(UInt16.self), let minor = reader.number(UInt16.self) else { return nil }
        var capabilities = VFIOUserCapabilities()
        if reader.count > 0 {
            let text = reader.remainder()
            guard text.count <= VFIOUserVersion.textLimit, text.last == 0, !text.dropLast().contains(0),
                let found = try? JSONDecoder().decode(Text.self, from: Data(text.dropLast()))
            else { return nil }
            capabilities = found.capabilities ?? capabilities
        }
        guard capabilities.isSane else { return nil }
        self.init(major: major, minor: minor, capabilities: capabilities)
    }

    /// The payload. A client may have no more room for it than its own took: it is kept short.
    public var payload: [UInt8] {
        var writer = PayloadWriter()
        writer.add(major)
        writer.add(minor)
        // Numbers under fixed names are always JSON.
        writer.add(Array((try? JSONEncoder().encode(Text(capabilities: capabilities))) ?? Data("{}".utf8)))
        writer.add([0])
        return writer.bytes
    }
}
