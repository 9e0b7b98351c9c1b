import InterruptSources
import TestSupport
import Testing

@Suite("Emulated MSI-X")
struct EmulatedMSIXTests {
    private func configuration(_ data: UInt32, masked: Bool? = nil) -> InterruptConfiguration {
        InterruptConfiguration(message: GuestTable.message(data: data), startsMasked: masked)
    }

    private func masks(
        masked: RangeSet<Int> = RangeSet(), unmasked: RangeSet<Int> = RangeSet(),
        _ updates: [Int: InterruptConfiguration] = [:]
    ) -> InterruptChange {
        .masks(InterruptChange.Masks(masked: masked, unmasked: unmasked, updates: updates))
    }

    // MARK: Shape

    @Test("T1: a table has 1 to 2,048 vectors", arguments: [1, 2, 3, 64, 65, 2047, 2048])
    func sizes(_ count: Int) throws {
        let guest = try GuestTable(count: count)
        #expect(guest.control == UInt16(count - 1))
        #expect(guest.msix.tableLength == 16 * count)
        #expect(guest.msix.pendingBitsLength == [1: 8, 2: 8, 3: 8, 64: 8, 65: 16, 2047: 256, 2048: 256][count])
        for count in [Int.min, -1, 0, 2049, Int.max] {
            #expect(throws: InterruptError.invalidCount(.msix, count)) { try GuestTable(count: count) }
        }
    }

    @Test("after reset the function is off and every vector masked, without a message")
    func initialState() throws {
        let guest = try GuestTable(count: 65)
        #expect(!guest.msix.isEnabled && !guest.msix.isFunctionMasked)
        for index in 0..<65 {
            #expect((0..<4).map { guest.word(index, $0) } == [0, 0, 0, 1])
        }
        #expect(guest.msix.configuration(at: 0x70, 12) == [0x11, 0xa0, 64, 0, 2, 0x10, 0, 0, 2, 0x90, 0, 0])
    }

    @Test("a device's capability is taken over, what a guest can change in it is not")
    func copying() throws {
        let capability: [UInt8] = [0x11, 0x80, 0xff, 0xc7, 0x03, 0x20, 0, 0, 0x04, 0x30, 0, 0]
        let device = [UInt8](repeating: 0, count: 0x50) + capability
        let msix = try EmulatedMSIX(copying: device.span, at: 0x50)
        #expect(msix.count == 2048 && !msix.isEnabled && !msix.isFunctionMasked)
        #expect(msix.table == MSIXLocation(bar: 3, offset: 0x2000))
        #expect(msix.pendingBits == MSIXLocation(bar: 4, offset: 0x3000))
        #expect(msix.configuration(at: 0x50, 12) == [0x11, 0x80, 0xff, 0x07, 0x03, 0x20, 0, 0, 0x04, 0x30, 0, 0])
        #expect(try EmulatedMSIX(copying: device.span, at: 0x50, count: 5).count == 5)
        #expect(try EmulatedMSIX(copying: device.span, at: 0x50, count: 5000).count == 2048)
        for length in [0, 0x50, 0x5b] {
            #expect(throws: InterruptError.malformedCapability(.msix)) {
                try EmulatedMSIX(copying: Array(device.prefix(length)).span, at: 0x50)
            }
        }
        // Another capability, and BARs that no function has.
        for (position, byte) in [(0x50, 0x05), (0x54, 0x06), (0x58, 0x07)] as [(Int, UInt8)] {
            var wrong = device
            wrong[position] = byte
            #expect(throws: InterruptError.malformedCapability(.msix)) {
                try EmulatedMSIX(copying: wrong.span, at: 0x50)
            }
        }
        #expect(MSIXLocation(bar: 6, offset: 0) == nil && MSIXLocation(bar: -1, offset: 0) == nil)
        #expect(MSIXLocation(bar: 0, offset: 4) == nil)
    }

    // MARK: Control

    @Test("T15: message control takes 1, 2, 3, 4 and 8 bytes at every offset, and only bits 14 and 15 change")
    func controlWidths() throws {
        for width in [1, 2, 3, 4, 8] {
            for offset in GuestTable.position - 8...GuestTable.position + 16 {
                var guest = try GuestTable(count: 5)
                let before = guest.msix.configuration(at: 0x60, 0x40)
                let change = guest.msix.writeConfiguration(.max, width, at: offset)
                let hasControl = (offset..<offset + UInt64(width)).contains(GuestTable.position + 3)
                var expected = before
                if hasControl { expected[0x13] = 0xc0 }
                #expect(guest.msix.configuration(at: 0x60, 0x40) == expected)
                #expect(guest.msix.isEnabled == hasControl)
                #expect((change != nil) == hasControl)
                // The same write again asks for nothing, and zeroes turn it off.
                #expect(guest.msix.writeConfiguration(.max, width, at: offset) == nil)
                #expect(guest.msix.writeConfiguration(0, width, at: offset) == (hasControl ? .disable : nil))
                #expect(guest.msix.configuration(at: 0x60, 0x40) == before)
            }
        }
    }

    @Test("enabling gives every message, with what masks it")
    func enable() throws {
        for functionMask in [false, true] {
            var guest = try GuestTable(count: 3)
            #expect(guest.setMessage(1, data: 0x41).isEmpty)
            #expect(guest.set(1, word: 3, 0) == nil)
            let none = InterruptMessage(address: 0, data: 0)
            #expect(
                guest.setControl(enable: true, functionMask: functionMask)
                    == .enable([
                        InterruptConfiguration(message: none, startsMasked: true),
                        configuration(0x41, masked: functionMask),
                        InterruptConfiguration(message: none, startsMasked: true),
                    ]))
            #expect(guest.setControl(enable: true, functionMask: functionMask) == nil)
            #expect(guest.setControl(enable: false) == .disable)
            #expect(guest.setControl(enable: false, functionMask: true) == nil)
        }
    }

    @Test("T7: the function mask masks and unmasks what entries do not, all in one change")
    func functionMask() throws {
        var guest = try GuestTable(count: 9)
        _ = guest.setControl(enable: true)
        for index in [0, 1, 4, 8] { _ = guest.set(index, word: 3, 0) }
        let open = RangeSet([0..<2, 4..<5, 8..<9])
        #expect(guest.setControl(enable: true, functionMask: true) == masks(masked: open))
        // Entries change behind the function mask without a word; the new message comes with the unmask.
        #expect(guest.setMessage(4, data: 0x44).isEmpty)
        #expect(guest.set(1, word: 3, 1) == nil)
        #expect(guest.set(6, word: 3, 0) == nil)
        #expect(
            guest.setControl(enable: true)
                == masks(unmasked: RangeSet([0..<1, 4..<5, 6..<7, 8..<9]), [4: configuration(0x44)]))
    }

    @Test("the function mask over nothing but masked entries asks for nothing")
    func idleFunctionMask() throws {
        var guest = try GuestTable(count: 4)
        _ = guest.setControl(enable: true)
        #expect(guest.setControl(enable: true, functionMask: true) == nil)
        #expect(guest.setControl(enable: true) == nil)
    }

    // MARK: Table

    @Test("T15: of table writes of 1 to 8 bytes at every alignment and edge, only aligned 4 and 8 take effect")
    func tableWrites() throws {
        let length = 32
        for width in 1...16 {
            for distance in -20..<length + 20 {
                var guest = try GuestTable(count: 2)
                let offset = GuestTable.table &+ UInt64(bitPattern: Int64(distance))
                let before = guest.msix.read(bar: 2, at: GuestTable.table, length)
                _ = guest.msix.write(EmulatedAccess.bytes(.max, width).span, bar: 2, at: offset)
                var expected = before
                let isTaken =
                    [4, 8].contains(width) && distance % width == 0 && distance >= 0 && distance + width <= length
                if isTaken {
                    for position in distance..<distance + width {
                        expected[position] = position % 16 == 0 ? 0xfc : 0xff
                    }
                }
                #expect(guest.msix.read(bar: 2, at: GuestTable.table, length) == expected, "\(width) at \(distance)")
            }
        }
    }

    @Test("T15: reads of any size at any place give the table's bytes, and leave what is outside")
    func tableReads() throws {
        var guest = try GuestTable(count: 2)
        for index in 0..<8 {
            _ = guest.set(index / 4, word: index % 4, UInt32(0x0302_0100) + UInt32(index) * 0x0404_0404)
        }
        let table = guest.msix.read(bar: 2, at: GuestTable.table, 32)
        #expect(table == Array(0..<32))
        let around = [UInt8](repeating: EmulatedAccess.filler, count: 24) + table + Array(repeating: 0xaa, count: 24)
        for width in 0...24 {
            for distance in 0...48 {
                let offset = GuestTable.table - 24 + UInt64(distance)
                #expect(guest.msix.read(bar: 2, at: offset, width) == Array(around[distance..<distance + width]))
                let touches = around[distance..<distance + width].contains { $0 != EmulatedAccess.filler }
                #expect(guest.msix.covers(bar: 2, at: offset, count: width) == touches)
                #expect(guest.msix.read(bar: 1, at: offset, width).allSatisfy { $0 == EmulatedAccess.filler })
            }
        }
    }

    @Test("T15: accesses up to the end of the address space reach nothing and overflow nothing")
    func extremes() throws {
        var guest = try GuestTable(count: 2048)
        _ = guest.setControl(enable: true)
        let offsets = (0...40).map { UInt64.max - $0 } + [1 << 63, 1 << 32, UInt64(UInt32.max), UInt64(Int.max)]
        for offset in offsets {
            for bar in [-1, 0, 2, 5, 6, Int.max, Int.min] {
                for width in 0...17 {
                    #expect(guest.msix.write(EmulatedAccess.bytes(0, width).span, bar: bar, at: offset) == nil)
                    let read = guest.msix.read(bar: bar, at: offset, width) { _ in true }
                    #expect(read.allSatisfy { $0 == EmulatedAccess.filler })
                    #expect(!guest.msix.covers(bar: bar, at: offset, count: width))
                    #expect(guest.msix.writeConfiguration(EmulatedAccess.bytes(0, width).span, at: offset) == nil)
                    #expect(guest.msix.configuration(at: offset, width).allSatisfy { $0 == EmulatedAccess.filler })
                }
            }
        }
        #expect(!guest.msix.covers(bar: 2, at: 0, count: .min) && guest.msix.covers(bar: 2, at: 0, count: .max))
        #expect(guest.msix.isEnabled)
    }

    @Test("of vector control only bit 0 counts, and the other bits are kept")
    func vectorControl() throws {
        var guest = try GuestTable(count: 1)
        _ = guest.setControl(enable: true)
        #expect(guest.set(0, word: 3, 0xdead_beef) == nil)
        #expect(guest.word(0, 3) == 0xdead_beef)
        #expect(guest.set(0, word: 3, 0xdead_beee) != nil)
        #expect(guest.word(0, 3) == 0xdead_beee)
        guest.msix.refused()
        #expect(guest.word(0, 3) == 0xdead_beef)
    }

    // MARK: Messages

    @Test("a message written while masked is asked for with the unmask, not before")
    func maskedMessage() throws {
        var guest = try GuestTable(count: 4)
        _ = guest.setControl(enable: true)
        for data: UInt32 in [0x50, 0x51, 0x52] { #expect(guest.setMessage(3, data: data).isEmpty) }
        #expect(guest.set(3, word: 3, 0) == masks(unmasked: RangeSet(3..<4), [3: configuration(0x52)]))
        #expect(guest.set(3, word: 3, 0) == nil)
        #expect(guest.set(3, word: 3, 1) == masks(masked: RangeSet(3..<4)))
        // Unchanged since: nothing to tell.
        #expect(guest.setMessage(3, data: 0x52).isEmpty)
        #expect(guest.set(3, word: 3, 0) == masks(unmasked: RangeSet(3..<4)))
    }

    @Test("a live message is asked for once when it is complete, however it is written")
    func liveMessage() throws {
        var guest = try GuestTable(count: 2)
        _ = guest.setControl(enable: true)
        _ = guest.set(1, word: 3, 0)
        #expect(guest.setMessage(1, data: 0x61) == [.update(1, configuration(0x61))])
        #expect(guest.setMessage(1, data: 0x61).isEmpty)
        // Two accesses of 8 bytes, the second of which has vector control too.
        let entry = GuestTable.table + 16
        #expect(guest.msix.write(0xfee0_1000, 8, bar: 2, at: entry) == nil)
        #expect(guest.msix.write(0x62, 8, bar: 2, at: entry + 8) == .update(1, configuration(0x62)))
        // Data first: the address is told with vector control.
        #expect(guest.set(1, word: 2, 0x63) == .update(1, configuration(0x63)))
        #expect(guest.set(1, word: 0, 0xfee0_2003) == nil)
        let moved = InterruptConfiguration(message: InterruptMessage(address: 0xfee0_2000, data: 0x63))
        #expect(guest.set(1, word: 3, 0) == .update(1, moved))
        #expect(guest.msix.message(of: 1) == moved.message)
        #expect(guest.msix.message(of: 2) == nil && guest.msix.message(of: -1) == nil)
    }

    @Test("one access of 8 bytes masks or unmasks together with new data")
    func dataAndControl() throws {
        var guest = try GuestTable(count: 1)
        _ = guest.setControl(enable: true)
        _ = guest.set(0, word: 0, 0xfee0_1000)
        let half = GuestTable.table + 8
        #expect(
            guest.msix.write(0x71, 8, bar: 2, at: half) == masks(unmasked: RangeSet(0..<1), [0: configuration(0x71)]))
        #expect(guest.msix.write(1 << 32 | 0x72, 8, bar: 2, at: half) == masks(masked: RangeSet(0..<1)))
        #expect(
            guest.msix.write(0x72, 8, bar: 2, at: half) == masks(unmasked: RangeSet(0..<1), [0: configuration(0x72)]))
    }

    @Test("messages carry the requester id")
    func deviceID() throws {
        let location = try #require(MSIXLocation(bar: 0, offset: 0))
        var msix = try EmulatedMSIX(count: 1, table: location, pendingBits: location, at: 0x40, deviceID: 0x18)
        guard case .enable(let configurations) = msix.writeConfiguration(0x8000, 2, at: 0x42) else {
            Issue.record("not enabled")
            return
        }
        #expect(configurations.first?.message?.deviceID == 0x18)
        // Table and Pending Bit Array at one place: the table wins, and nothing traps.
        #expect(msix.read(bar: 0, at: 0, 16) { _ in true } == Array(repeating: 0, count: 12) + [1, 0, 0, 0])
    }

    // MARK: Pending bits

    @Test("T7: function mask, entry mask and enable decide the Pending Bit Array, at every alignment")
    func pendingBits() throws {
        let waiting = Set([0, 7, 8, 63, 64, 66])
        for enable in [false, true] {
            for functionMask in [false, true] {
                var guest = try GuestTable(count: 67)
                // Odd vectors are unmasked.
                for index in stride(from: 1, to: 67, by: 2) { _ = guest.set(index, word: 3, 0) }
                _ = guest.setControl(enable: enable, functionMask: functionMask)
                let shown = waiting.filter { enable && (functionMask || $0 % 2 == 0) }
                for vector in 0..<67 {
                    #expect(guest.msix.isMasked(vector) == (!enable || functionMask || vector % 2 == 0))
                }
                var expected = [UInt8](repeating: 0, count: 16)
                for vector in shown { expected[vector / 8] |= 1 << UInt8(vector % 8) }
                let around = [UInt8](repeating: 0xaa, count: 8) + expected + [UInt8](repeating: 0xaa, count: 8)
                for width in 1...16 {
                    for distance in 0...32 - width {
                        let read = guest.msix.read(bar: 2, at: GuestTable.pendingBits - 8 + UInt64(distance), width) {
                            waiting.contains($0)
                        }
                        #expect(read == Array(around[distance..<distance + width]), "\(width) at \(distance)")
                    }
                }
            }
        }
    }

    @Test("only masked vectors whose bit is read are asked for, and the array cannot be written")
    func pendingIsAskedFor() throws {
        var guest = try GuestTable(count: 20)
        _ = guest.setControl(enable: true)
        _ = guest.set(9, word: 3, 0)
        var asked: [Int] = []
        _ = guest.msix.read(bar: 2, at: GuestTable.pendingBits + 1, 2) { vector in
            asked.append(vector)
            return true
        }
        #expect(asked == [8] + Array(10..<20))
        for width in [1, 2, 4, 8] {
            #expect(guest.msix.write(.max, width, bar: 2, at: GuestTable.pendingBits) == nil)
        }
        #expect(guest.msix.read(bar: 2, at: GuestTable.pendingBits, 8) == Array(repeating: 0, count: 8))
    }

    // MARK: What the group refuses

    @Test("a change that was refused leaves the bits that the guest reads as they were")
    func refused() throws {
        var guest = try GuestTable(count: 4)
        #expect(guest.setControl(enable: true) != nil)
        guest.msix.refused()
        #expect(!guest.msix.isEnabled && guest.control == 3)
        guest.msix.refused()
        #expect(guest.setControl(enable: true) != nil)

        _ = guest.setMessage(2, data: 0x42)
        #expect(guest.set(2, word: 3, 0) != nil)
        guest.msix.refused()
        #expect(guest.word(2, 3) == 1 && guest.word(2, 2) == 0x42)
        // The message was not learned, so it is asked for again.
        #expect(guest.set(2, word: 3, 0) == masks(unmasked: RangeSet(2..<3), [2: configuration(0x42)]))

        #expect(guest.setMessage(2, data: 0x43) == [.update(2, configuration(0x43))])
        guest.msix.refused()
        #expect(guest.word(2, 2) == 0x43)
        #expect(guest.set(2, word: 2, 0x43) == .update(2, configuration(0x43)))

        #expect(guest.setControl(enable: true, functionMask: true) != nil)
        guest.msix.refused()
        #expect(!guest.msix.isFunctionMasked)
        #expect(guest.setControl(enable: false) == .disable)
        guest.msix.refused()
        #expect(guest.msix.isEnabled)
        // A write that asked for nothing leaves nothing to take back.
        #expect(guest.setMessage(0, data: 1).isEmpty)
        guest.msix.refused()
        #expect(guest.word(0, 2) == 1 && guest.msix.isEnabled)
    }

    @Test("a reset puts everything back, and disables what was on")
    func reset() throws {
        var guest = try GuestTable(count: 4)
        let fresh = guest.msix.read(bar: 2, at: GuestTable.table, 64)
        #expect(guest.msix.reset() == nil)
        _ = guest.setMessage(1, data: 9)
        _ = guest.set(1, word: 3, 0)
        _ = guest.setControl(enable: true, functionMask: true)
        #expect(guest.msix.reset() == .disable)
        #expect(guest.msix.read(bar: 2, at: GuestTable.table, 64) == fresh)
        #expect(guest.control == 3)
        guest.msix.refused()
        #expect(guest.control == 3)
    }
}
