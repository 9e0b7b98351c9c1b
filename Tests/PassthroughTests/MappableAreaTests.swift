import PCI
import Testing

@testable import Passthrough

@Suite("What of a BAR may be mapped") struct MappableAreaTests {
    private func areas(_ size: UInt64, _ structures: [MSIXStructure] = [], bar: Int = 0) -> [[UInt64]] {
        MappableArea.areas(ofBAR: bar, size: size, around: structures).map { [$0.offset, $0.size] }
    }

    private func structure(_ offset: UInt64, _ size: UInt64, bar: Int = 0) -> MSIXStructure {
        MSIXStructure(bar: bar, offset: offset, size: size)
    }

    @Test("A BAR without a structure of MSI-X may be mapped whole, as far as it has whole pages") func whole() {
        #expect(areas(0x4000) == [[0, 0x4000]])
        #expect(areas(0x4000, [structure(0, 16, bar: 1)]) == [[0, 0x4000]])
        #expect(areas(0x1800) == [[0, 0x1000]])
        #expect(areas(0x800).isEmpty)
        #expect(areas(0).isEmpty)
    }

    @Test("The pages of the table and of the pending bits are left out, in whatever order they stand") func holes() {
        #expect(
            areas(0x8000, [structure(0x2000, 80), structure(0x4ff8, 16)]) == [
                [0, 0x2000], [0x3000, 0x1000], [0x6000, 0x2000],
            ])
        #expect(areas(0x8000, [structure(0x4000, 8), structure(0x2000, 0x2000)]) == [[0, 0x2000], [0x5000, 0x3000]])
        #expect(areas(0x4000, [structure(0, 0x1000), structure(0x800, 8)]) == [[0x1000, 0x3000]])
        #expect(areas(0x1000, [structure(0x10, 16)]).isEmpty)
    }

    @Test("Structures that end beyond the BAR, or stand there, leave out what is before it at most") func beyond() {
        #expect(areas(0x4000, [structure(0x3000, 0x8000)]) == [[0, 0x3000]])
        #expect(areas(0x4000, [structure(0xffff_fff8, 0x8000)]) == [[0, 0x4000]])
    }
}
