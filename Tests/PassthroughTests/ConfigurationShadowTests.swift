import PCI
import TestSupport
import Testing

@testable import Passthrough

@Suite("What a guest writes to the capabilities of its messages") struct ConfigurationShadowTests {
    private static func config(_ make: (inout FakeConfigSpace) -> Void) -> ConfigSpace {
        var config = FakeConfigSpace()
        make(&config)
        return ConfigSpace(config.bytes)
    }

    private func place(_ config: ConfigSpace, _ id: ConfigSpace.CapabilityID) throws -> UInt64 {
        UInt64(try #require(config.capabilities.first { $0.id == id }).offset)
    }

    @Test(
        "Message control, address and data of MSI are kept, and all else goes on to the device",
        // Sixteen vectors; without and with an address of 64 bits.
        arguments: [4, 0x44] as [UInt8])
    func msi(encoding: UInt8) throws {
        let config = ConfigurationShadowTests.config { $0.addMSI(encoding: encoding) }
        let base = try place(config, .msi)
        var shadow = try #require(ConfigurationShadow(config))
        #expect(shadow.msiVectors == 1)
        // Four vectors allowed, and on.
        #expect(shadow.take([0xff & ~0x50 | 0x20, 0xff], at: base + 2) == [.init(offset: base + 3, bytes: [0xff])])
        #expect(shadow.msiVectors == 4)
        let isWide = (config.byte(at: Int(base) + 2) ?? 0) & 0x80 != 0
        let end: UInt64 = isWide ? 14 : 10
        let message = (0..<Int(end) - 4).map { UInt8($0 + 0x11) }
        #expect(shadow.take(message, at: base + 4).isEmpty)
        var read = config.bytes
        shadow.fill(&read, at: 0)
        let start = Int(base)
        let capable = (config.byte(at: start + 2) ?? 0) & 0x8e
        #expect(read[start + 2] == capable | 0x21)
        // The lowest two bits of the address are 0.
        #expect(Array(read[start + 4..<start + Int(end)]) == [0x10] + message.dropFirst())
        #expect(Array(read[..<start]) == Array(config.bytes[..<start]))
        #expect(Array(read[(start + Int(end))...]) == Array(config.bytes[(start + Int(end))...]))
    }

    @Test("Of MSI-X it is whether it is on and masked; the size of the table stays") func msix() throws {
        let config = ConfigurationShadowTests.config { $0.addMSIX(vectors: 5) }
        let base = try place(config, .msix)
        var shadow = try #require(ConfigurationShadow(config))
        #expect(shadow.msiVectors == nil)
        #expect(shadow.take([0xff, 0xff], at: base + 2) == [.init(offset: base + 2, bytes: [0xff])])
        var control = [config.byte(at: Int(base) + 2) ?? 0, config.byte(at: Int(base) + 3) ?? 0]
        let before = control
        shadow.fill(&control, at: base + 2)
        #expect(control == [before[0], before[1] & 0x3f | 0xc0])
    }

    @Test("A write across both is taken apart into what goes on") func across() throws {
        let config = ConfigurationShadowTests.config {
            $0.addMSI(encoding: 0)
            $0.addMSIX(vectors: 5)
        }
        var shadow = try #require(ConfigurationShadow(config))
        let parts = shadow.take([UInt8](repeating: 0x55, count: config.bytes.count), at: 0)
        let written = Set(parts.flatMap { part in part.bytes.indices.map { Int(part.offset) + $0 } })
        let msi = Int(try place(config, .msi))
        let msix = Int(try place(config, .msix))
        for offset in [msi + 2, msi + 4, msi + 9, msix + 3] { #expect(!written.contains(offset)) }
        for offset in [0, 4, msi, msi + 1, msi + 3, msix + 2, msix + 4, config.bytes.count - 1] {
            #expect(written.contains(offset))
        }
    }

    @Test("Reserved numbers of vectors, and a function without either, change nothing") func odd() throws {
        let config = ConfigurationShadowTests.config { $0.addMSI(encoding: 0) }
        var shadow = try #require(ConfigurationShadow(config))
        for exponent: UInt8 in 5...7 {
            _ = shadow.take([exponent << 4], at: try place(config, .msi) + 2)
            #expect(shadow.msiVectors == 32)
        }
        var none = try #require(ConfigurationShadow(ConfigSpace([])))
        #expect(none.take([1, 2], at: .max) == [.init(offset: .max, bytes: [1, 2])])
        #expect(none.msiVectors == nil)
    }

    @Test("A function that does not answer has no registers that could be known", arguments: [0, 6])
    func silent(register: Int) {
        var bytes = ConfigurationShadowTests.config { $0.addMSI(encoding: 0) }.bytes
        #expect(ConfigurationShadow(ConfigSpace(bytes)) != nil)
        // VFIO may know the ids nevertheless.
        (bytes[register], bytes[register + 1]) = (0xff, 0xff)
        #expect(ConfigurationShadow(ConfigSpace(bytes)) == nil)
        #expect(ConfigurationShadow(ConfigSpace([UInt8](repeating: 0xff, count: 256))) == nil)
    }
}
