import PCI
import TestSupport
import Testing

@Suite("Configuration space") struct ConfigSpaceTests {
    @Test("A function's vectors are read from its capabilities") func vectors() {
        var fake = FakeConfigSpace(pin: 1)
        fake.add(id: 0x01)
        fake.addMSI(encoding: 4)
        fake.addMSIX(vectors: 2048)
        let config = ConfigSpace(fake.bytes)
        #expect(config.hasInterruptPin)
        #expect(config.msiVectors == 16)
        #expect(config.msixVectors == 2048)
        #expect(config.headerType == 0)
        #expect(config.capabilities.map(\.offset) == [0x40, 0x50, 0x60])
    }

    @Test(
        "Multiple Message Capable counts in powers of two, and its reserved encodings are none",
        arguments: zip(UInt8(0)...7, [1, 2, 4, 8, 16, 32, 0, 0]))
    func msiEncodings(encoding: UInt8, vectors: Int) {
        var fake = FakeConfigSpace()
        fake.addMSI(encoding: encoding)
        #expect(ConfigSpace(fake.bytes).msiVectors == vectors)
    }

    @Test(
        "Only the pins A to D are interrupt pins",
        arguments: [(0, false), (1, true), (4, true), (5, false), (255, false)] as [(UInt8, Bool)])
    func pins(pin: UInt8, isPin: Bool) {
        #expect(ConfigSpace(FakeConfigSpace(pin: pin).bytes).hasInterruptPin == isPin)
    }

    @Test("A bridge's header type is read without the multi-function bit") func headerType() {
        #expect(ConfigSpace(FakeConfigSpace(headerType: 0x81).bytes).headerType == 1)
    }

    @Test("A capability list that comes back to itself ends") func loop() {
        var fake = FakeConfigSpace()
        fake.add(id: 0x01)
        fake.addMSI(encoding: 0)
        var bytes = fake.bytes
        bytes[0x51] = 0x40
        let config = ConfigSpace(bytes)
        #expect(config.capabilities.count == 2)
        #expect(config.msiVectors == 1)
        #expect(config.msixVectors == 0)
    }

    @Test("A capability pointer's reserved bits are ignored, and one into the header ends the list") func pointers() {
        var fake = FakeConfigSpace()
        fake.addMSIX(vectors: 5)
        var bytes = fake.bytes
        bytes[0x34] = 0x43
        bytes[0x41] = 0x3c
        let config = ConfigSpace(bytes)
        #expect(config.msixVectors == 5)
        #expect(config.capabilities.count == 1)
    }

    @Test(
        "What an unprivileged reader gets has a header and no capabilities", arguments: [0, 1, 7, 0x35, 64, 0x42, 0x43])
    func truncated(length: Int) {
        var fake = FakeConfigSpace()
        fake.addMSIX(vectors: 5)
        let config = ConfigSpace(Array(fake.bytes.prefix(length)))
        #expect(config.msixVectors == 0)
        #expect(config.msiVectors == 0)
        #expect(config.hasInterruptPin == (length > 0x3d))
        #expect(config.long(at: length) == nil)
        #expect(config.word(at: -1) == nil)
        #expect(config.byte(at: .max) == nil)
        #expect(config.long(at: .max) == nil)
    }

    @Test("The table of MSI-X and its pending bits are found in their BARs") func msixStructures() {
        #expect(ConfigSpace(FakeConfigSpace().bytes).msixStructures.isEmpty)
        var fake = FakeConfigSpace()
        fake.addMSIX(vectors: 65, table: 0x2003, pendingBits: 0xffff_fff8 | 5)
        #expect(
            ConfigSpace(fake.bytes).msixStructures == [
                MSIXStructure(bar: 3, offset: 0x2000, size: 65 * 16),
                MSIXStructure(bar: 5, offset: 0xffff_fff8, size: 16),
            ])
        // A BAR that does not exist, and a capability that was not read to its end.
        fake = FakeConfigSpace()
        fake.addMSIX(vectors: 1, table: 6, pendingBits: 0x10)
        #expect(ConfigSpace(fake.bytes).msixStructures == [MSIXStructure(bar: 0, offset: 0x10, size: 8)])
        #expect(ConfigSpace(Array(fake.bytes.prefix(0x48))).msixStructures.isEmpty)
    }

    @Test("The serial number is read from its extended capability, wherever that stands") func serialNumber() {
        var fake = FakeConfigSpace()
        #expect(ConfigSpace(fake.bytes).serialNumber == nil)
        fake.addExtended(id: 0x0001, words: [])
        fake.addExtended(id: 0x0003, words: [0xff12_3456, 0x5254_00ff])
        fake.addExtended(id: 0x0010, words: [])
        let config = ConfigSpace(fake.bytes)
        #expect(config.extendedCapabilities.map(\.id) == [1, 3, 0x10])
        #expect(config.extendedCapabilities.map(\.offset) == [0x100, 0x140, 0x180])
        #expect(config.serialNumber?.description == "52-54-00-ff-ff-12-34-56")
        #expect(ConfigSpace(Array(fake.bytes.prefix(0x148))).serialNumber == nil)
        #expect(ConfigSpace(Array(fake.bytes.prefix(256))).extendedCapabilities.isEmpty)
    }

    @Test(
        "An extended list that comes back to itself, or points into the header, ends",
        arguments: [(0x140, 2), (0x100, 2), (0x0fc, 2), (0x000, 2), (0xffc, 2)] as [(UInt32, Int)])
    func extendedLoop(next: UInt32, count: Int) {
        var fake = FakeConfigSpace()
        fake.addExtended(id: 1, words: [])
        fake.addExtended(id: 2, words: [])
        var bytes = fake.bytes
        bytes[0x142] = UInt8(next << 4 & 0xf0 | 1)
        bytes[0x143] = UInt8(next >> 4)
        #expect(ConfigSpace(bytes).extendedCapabilities.count == count)
    }

    @Test("The command register says what a function may do, unless it does not answer") func command() {
        var fake = FakeConfigSpace()
        fake.setCommand(0x0402)
        let command = ConfigSpace(fake.bytes).command
        #expect(
            command
                == ConfigSpace.Command(answersIO: false, answersMemory: true, isBusMaster: false, disablesINTx: true))
        // A virtual function's ids.
        var bytes = fake.bytes
        bytes.replaceSubrange(0..<4, with: [0xff, 0xff, 0xff, 0xff])
        #expect(ConfigSpace(bytes).isAnswered)
        let silent = ConfigSpace([UInt8](repeating: 0xff, count: 256))
        #expect(!silent.isAnswered && silent.command == nil)
        #expect(!ConfigSpace([]).isAnswered)
    }

    @Test("A function that does not answer has nothing") func allOnes() {
        let config = ConfigSpace([UInt8](repeating: 0xff, count: 4096))
        #expect(config.capabilities.isEmpty)
        #expect(!config.hasInterruptPin)
    }

    @Test("No bytes lead out of bounds or to impossible counts") func hostileBytes() {
        var random = SplitMix64(seed: 1)
        for _ in 0..<2000 {
            var bytes = (0..<Int(random.next() % 900)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
            if bytes.count > 6 { bytes[6] |= 0x10 }
            let config = ConfigSpace(bytes)
            #expect(config.capabilities.count <= 48)
            #expect(config.capabilities.allSatisfy { $0.offset >= 0x40 && $0.offset <= 0xfc })
            #expect([0, 1, 2, 4, 8, 16, 32].contains(config.msiVectors))
            #expect((0...2048).contains(config.msixVectors))
            #expect(config.extendedCapabilities.allSatisfy { (0x100...0xffc).contains($0.offset) })
            _ = config.serialNumber
        }
    }
}
