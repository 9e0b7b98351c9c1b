/// A range of addresses that a function answers to: one of its BARs, or its expansion ROM.
public struct PCIRegion: Hashable, Sendable {
    /// Which address space it is in.
    public enum Space: String, Sendable {
        /// I/O ports.
        case io
        /// Memory.
        case memory
    }

    /// 0 to 5 for a BAR, 6 for the expansion ROM: VFIO's numbers too.
    public let index: Int
    /// Its address space.
    public let space: Space
    /// Its first address on the host's bus.
    public let address: UInt64
    /// Its size in bytes.
    public let size: UInt64
    /// Whether it takes two BARs.
    public let is64Bit: Bool
    /// Whether reads have no effect.
    public let isPrefetchable: Bool

    // include/linux/ioport.h.
    private static let io: UInt64 = 0x100
    private static let memory: UInt64 = 0x200
    private static let prefetch: UInt64 = 0x2000
    private static let wide: UInt64 = 0x10_0000
    private static let unset: UInt64 = 0x2000_0000
    /// What follows in the file are a physical function's ranges for its virtual functions, and a bridge's windows.
    private static let count = 7

    /// Creates a region.
    public init(index: Int, space: Space, address: UInt64, size: UInt64, is64Bit: Bool, isPrefetchable: Bool) {
        (self.index, self.space, self.address, self.size) = (index, space, address, size)
        (self.is64Bit, self.isPrefetchable) = (is64Bit, isPrefetchable)
    }

    /// Reads the attribute `resource`: a line `START END FLAGS` for each region, zeros where there is none. A line that
    /// makes no sense, or is of a region without an address, is left out.
    static func regions(_ text: String) -> [PCIRegion] {
        text.split(separator: "\n", omittingEmptySubsequences: false).prefix(count).enumerated().compactMap {
            PCIRegion(index: $0, line: $1)
        }
    }

    private init?(index: Int, line: Substring) {
        let numbers = line.split(separator: " ").map { $0.hasPrefix("0x") ? UInt64($0.dropFirst(2), radix: 16) : nil }
        guard numbers.count == 3, let start = numbers[0], let end = numbers[1], let flags = numbers[2], end >= start,
            end - start < .max, flags & (PCIRegion.io | PCIRegion.memory) != 0, flags & PCIRegion.unset == 0
        else { return nil }
        self.init(
            index: index, space: flags & PCIRegion.io != 0 ? .io : .memory, address: start, size: end - start + 1,
            is64Bit: flags & PCIRegion.wide != 0, isPrefetchable: flags & PCIRegion.prefetch != 0)
    }
}
