import InterruptSources
import TestSupport
import Testing

@Suite("Emulated MSI")
struct EmulatedMSITests {
    /// The four layouts of the capability (PCI 3.0 section 6.8.1).
    struct Layout: Sendable, CustomTestStringConvertible {
        let is64Bit: Bool
        let masksVectors: Bool
        let length: Int
        var testDescription: String { "\(length) bytes" }
        var data: UInt64 { is64Bit ? 12 : 8 }
        var mask: UInt64 { data + 4 }

        static let all = [
            Layout(is64Bit: false, masksVectors: false, length: 10),
            Layout(is64Bit: true, masksVectors: false, length: 14),
            Layout(is64Bit: false, masksVectors: true, length: 20),
            Layout(is64Bit: true, masksVectors: true, length: 24),
        ]

        func capability(count: Int = 16) throws -> EmulatedMSI {
            try EmulatedMSI(
                count: count, is64Bit: is64Bit, masksVectors: masksVectors, at: 0x50, next: 0x70)
        }
    }

    private func control(_ msi: EmulatedMSI) -> UInt64 { msi.configuration(at: 0x52, 2).value }

    /// Enables a block of 1 << encoding vectors at 0xfee00000 with this data.
    private func enable(_ msi: inout EmulatedMSI, encoding: UInt64, data: UInt64) -> InterruptChange? {
        _ = msi.writeConfiguration(0xfee0_0000, 4, at: 0x54)
        _ = msi.writeConfiguration(data, 2, at: msi.is64Bit ? 0x5c : 0x58)
        return msi.writeConfiguration(encoding << 4 | 1, 2, at: 0x52)
    }

    private func configurations(_ count: Int, data: UInt32, masked: [Int] = []) -> [InterruptConfiguration] {
        (0..<count).map {
            InterruptConfiguration(
                message: InterruptMessage(address: 0xfee0_0000, data: data), startsMasked: masked.contains($0))
        }
    }

    @Test("the capability has 10, 14, 20 or 24 bytes, and says what it has", arguments: Layout.all)
    func layouts(_ layout: Layout) throws {
        let msi = try layout.capability()
        #expect(msi.length == layout.length)
        let flags = UInt64(4 << 1) | (layout.is64Bit ? 0x80 : 0) | (layout.masksVectors ? 0x100 : 0)
        #expect(msi.configuration(at: 0x50, 4) == [0x05, 0x70] + EmulatedAccess.bytes(flags, 2))
        #expect(msi.configuration(at: 0x54, layout.length - 4).allSatisfy { $0 == 0 })
        #expect(msi.configuration(at: 0x50 + UInt64(layout.length), 4).allSatisfy { $0 == EmulatedAccess.filler })
    }

    @Test("T1: a block has 1, 2, 4, 8, 16 or 32 vectors")
    func sizes() throws {
        for count in [1, 2, 4, 8, 16, 32] {
            #expect(try EmulatedMSI(count: count, at: 0x50).activeCount == 1)
        }
        for count in [Int.min, -1, 0, 3, 5, 33, 64, Int.max] {
            #expect(throws: InterruptError.invalidCount(.msi, count)) { try EmulatedMSI(count: count, at: 0x50) }
        }
    }

    @Test("T15: writes of 1 to 8 bytes at every offset change only what a guest can write", arguments: Layout.all)
    func widths(_ layout: Layout) throws {
        var writable = [UInt8](repeating: 0, count: 64)
        func allow(_ position: UInt64, _ bits: [UInt8]) {
            for (index, byte) in bits.enumerated() { writable[8 + Int(position) + index] = byte }
        }
        // Multiple Message Enable of a function that is capable of 16 can become 4, which is bit 6 alone.
        allow(2, [0x41])
        allow(4, [0xfc, 0xff, 0xff, 0xff])
        if layout.is64Bit { allow(8, [0xff, 0xff, 0xff, 0xff]) }
        allow(layout.data, [0xff, 0xff])
        if layout.masksVectors { allow(layout.mask, [0xff, 0xff]) }
        for width in 1...8 {
            for distance in 0..<56 {
                var msi = try layout.capability()
                let offset = 0x48 + UInt64(distance)
                var expected = msi.configuration(at: 0x48, 64)
                let change = msi.writeConfiguration(.max, width, at: offset)
                for position in distance..<distance + width { expected[position] |= writable[position] }
                #expect(msi.configuration(at: 0x48, 64) == expected, "\(width) at \(distance)")
                #expect((change != nil) == (distance..<distance + width).contains(10))
                #expect(msi.isEnabled == (change != nil))
                let read = msi.configuration(at: offset, width)
                #expect(read == Array(expected[distance..<distance + width]))
            }
        }
    }

    @Test("T15: accesses at the end of the address space reach nothing")
    func extremes() throws {
        var msi = try EmulatedMSI(count: 32, masksVectors: true, at: 0xf0)
        for offset in (0...20).map({ UInt64.max - $0 }) + [0x108, 1 << 32, 1 << 63] {
            for width in 0...17 {
                #expect(msi.writeConfiguration(EmulatedAccess.bytes(.max, width).span, at: offset) == nil)
                #expect(msi.configuration(at: offset, width).allSatisfy { $0 == EmulatedAccess.filler })
            }
        }
        #expect(!msi.isEnabled)
    }

    @Test("T8: Multiple Message Enable and Enable in one write enable the whole block", arguments: Layout.all)
    func chosenTogether(_ layout: Layout) throws {
        for encoding in 0...4 as ClosedRange<UInt64> {
            var msi = try layout.capability()
            let count = 1 << Int(encoding)
            #expect(enable(&msi, encoding: encoding, data: 0x4300) == .enable(configurations(count, data: 0x4300)))
            #expect(msi.activeCount == count)
        }
    }

    @Test("T8: Multiple Message Enable above what the function is capable of is cut, reserved values too")
    func clamped() throws {
        for count in [1, 2, 4, 8, 16, 32] {
            for encoding in 0...7 as ClosedRange<UInt64> {
                for width in [1, 2, 4] {
                    var msi = try EmulatedMSI(count: count, at: 0x50)
                    let offset: UInt64 = width == 4 ? 0x50 : 0x52
                    _ = msi.writeConfiguration((encoding << 4 | 1) << (width == 4 ? 16 : 0), width, at: offset)
                    #expect(msi.activeCount == min(1 << Int(encoding), count))
                    #expect(control(msi) >> 4 & 7 == UInt64(msi.activeCount.trailingZeroBitCount))
                    #expect(msi.isEnabled)
                }
            }
        }
    }

    @Test("T8: Multiple Message Enable changed while MSI is on keeps its value; it changes with the next enable")
    func changedLive() throws {
        var msi = try EmulatedMSI(count: 8, at: 0x50)
        _ = enable(&msi, encoding: 1, data: 0x40)
        #expect(msi.writeConfiguration(3 << 4 | 1, 2, at: 0x52) == nil)
        #expect(msi.activeCount == 2)
        #expect(msi.writeConfiguration(3 << 4, 2, at: 0x52) == .disable)
        #expect(msi.activeCount == 8)
        #expect(msi.writeConfiguration(3 << 4 | 1, 2, at: 0x52) == .enable(configurations(8, data: 0x40)))
    }

    @Test("a live message is asked for once when it is complete", arguments: Layout.all)
    func liveMessage(_ layout: Layout) throws {
        var msi = try layout.capability()
        _ = enable(&msi, encoding: 2, data: 0x40)
        let data = 0x50 + layout.data
        #expect(msi.writeConfiguration(0xfee0_5003, 4, at: 0x54) == nil)
        if layout.is64Bit { #expect(msi.writeConfiguration(1, 4, at: 0x58) == nil) }
        let address: UInt64 = (layout.is64Bit ? 1 << 32 : 0) | 0xfee0_5000
        func update(_ data: UInt32) -> InterruptChange {
            .update(0, InterruptConfiguration(message: InterruptMessage(address: address, data: data)))
        }
        #expect(msi.writeConfiguration(0x60, 2, at: data) == update(0x60))
        #expect(msi.writeConfiguration(0x60, 2, at: data) == nil)
        #expect(msi.writeConfiguration(0x61, 1, at: data) == update(0x61))
        msi.refused()
        #expect(msi.configuration(at: data, 2).value == 0x61)
        #expect(msi.writeConfiguration(0x61, 2, at: data) == update(0x61))
        #expect(msi.isEnabled)
    }

    @Test("one write of the mask bits masks some vectors and unmasks others; those beyond the block only remember")
    func masks() throws {
        var msi = try EmulatedMSI(count: 8, masksVectors: true, at: 0x50)
        #expect(msi.writeConfiguration(0b1000_0101, 1, at: 0x60) == nil)
        #expect(
            enable(&msi, encoding: 2, data: 0x40) == .enable(configurations(4, data: 0x40, masked: [0, 2])))
        #expect(
            msi.writeConfiguration(0xffff_ff0a, 4, at: 0x60)
                == .masks(
                    InterruptChange.Masks(masked: RangeSet([1..<2, 3..<4]), unmasked: RangeSet([0..<1, 2..<3]))))
        // Vectors that the function does not have cannot be masked.
        #expect(msi.configuration(at: 0x60, 4).value == 0x0a)
        #expect(msi.writeConfiguration(0xfa, 1, at: 0x60) == nil)
        msi.refused()
        #expect(msi.configuration(at: 0x60, 4).value == 0xfa)
        #expect(
            msi.writeConfiguration(0, 4, at: 0x60)
                == .masks(InterruptChange.Masks(unmasked: RangeSet([1..<2, 3..<4]))))
        msi.refused()
        #expect(msi.configuration(at: 0x60, 4).value == 0xfa)
    }

    @Test("T7: pending bits are those of masked vectors of the block, while MSI is on, at every alignment")
    func pendingBits() throws {
        var msi = try EmulatedMSI(count: 32, masksVectors: true, at: 0x50)
        _ = msi.writeConfiguration(0xf0f0_f0f1, 4, at: 0x60)
        #expect(msi.configuration(at: 0x64, 4, pending: { _ in true }).value == 0)
        _ = enable(&msi, encoding: 4, data: 0x40)
        var asked: [Int] = []
        let pending = msi.configuration(at: 0x64, 4) { vector in
            asked.append(vector)
            return vector != 4
        }
        #expect(pending.value == 0xf0e1)
        #expect(asked == [0, 4, 5, 6, 7, 12, 13, 14, 15])
        for width in 1...8 {
            for distance in 0...8 {
                let read = msi.configuration(at: 0x60 + UInt64(distance), width) { $0 != 4 }
                let whole: [UInt8] =
                    [0xf1, 0xf0, 0xf0, 0xf0, 0xe1, 0xf0, 0, 0] + Array(repeating: EmulatedAccess.filler, count: 8)
                #expect(read == Array(whole[distance..<distance + width]), "\(width) at \(distance)")
            }
        }
        #expect(msi.writeConfiguration(.max, 4, at: 0x64) == nil)
    }

    @Test("a change that was refused leaves Enable as it was, and a reset leaves nothing")
    func refusedAndReset() throws {
        var msi = try EmulatedMSI(count: 8, masksVectors: true, at: 0x50)
        let fresh = msi.configuration(at: 0x50, msi.length)
        #expect(enable(&msi, encoding: 3, data: 0x40) != nil)
        msi.refused()
        #expect(!msi.isEnabled && msi.activeCount == 1)
        _ = enable(&msi, encoding: 3, data: 0x40)
        #expect(msi.writeConfiguration(0, 2, at: 0x52) == .disable)
        msi.refused()
        #expect(msi.isEnabled && msi.activeCount == 8)
        _ = msi.writeConfiguration(0xff, 1, at: 0x60)
        #expect(msi.reset() == .disable)
        #expect(msi.configuration(at: 0x50, msi.length) == fresh)
        #expect(msi.reset() == nil)
    }

    @Test("a device's capability is taken over, what a guest can change in it is not")
    func copying() throws {
        func space(_ capability: [UInt8]) -> [UInt8] { [UInt8](repeating: 0, count: 0x50) + capability }
        let device = space([0x05, 0x60, 0xc9, 0x01])
        let msi = try EmulatedMSI(copying: device.span, at: 0x50, deviceID: 0x20)
        #expect(msi.count == 16 && msi.is64Bit && msi.masksVectors && !msi.isEnabled && msi.activeCount == 1)
        #expect(msi.configuration(at: 0x50, 4) == [0x05, 0x60, 0x88, 0x01])
        #expect(msi.deviceID == 0x20)
        #expect(try EmulatedMSI(copying: device.span, at: 0x50, count: 2).count == 2)
        #expect(throws: InterruptError.invalidCount(.msi, 3)) {
            try EmulatedMSI(copying: device.span, at: 0x50, count: 3)
        }
        for wrong: [UInt8] in [[], [0x05, 0, 0], [0x11, 0, 0, 0], [0x05, 0, 0x0c, 0], [0x05, 0, 0x0e, 0]] {
            #expect(throws: InterruptError.malformedCapability(.msi)) {
                try EmulatedMSI(copying: space(wrong).span, at: 0x50)
            }
        }
    }
}
