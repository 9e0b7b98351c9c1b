import PCI
import Testing

@Suite("What tells devices apart, as text")
struct IdentityTextTests {
    @Test("an address may go without its domain where that is 0")
    func address() {
        #expect(PCIAddress(abbreviated: "00:10.0") == PCIAddress("0000:00:10.0"))
        #expect(PCIAddress(abbreviated: "10000:00:10.0")?.domain == 0x10000)
        for text in ["", "0:10.0", "000:00:10.0", ":00:10.0", "00:10", "00:20.0", "00:10.8", "00:10.0 ", "００:10.0"] {
            #expect(PCIAddress(abbreviated: text) == nil, "\(text)")
        }
    }

    @Test("a serial number is eight bytes, in either case")
    func serial() {
        let text = "52-54-00-ff-ff-12-34-56"
        #expect(PCISerialNumber(text)?.rawValue == 0x5254_00ff_ff12_3456)
        #expect(PCISerialNumber(text.uppercased())?.description == text)
        for wrong in [
            "", "52", "52-54-00-ff-ff-12-34", text + "-00", "52:54:00:ff:ff:12:34:56", "525400ffff123456",
            "52-54-00-ff-ff-12-34-5", "52-54-00-ff-ff-12-34-+5", "52-54-00-ff-ff-12--34-56", "5-254-00-ff-ff-12-34-56",
        ] {
            #expect(PCISerialNumber(wrong) == nil, "\(wrong)")
        }
    }

    @Test("ids are four hexadecimal digits each")
    func ids() {
        #expect(PCIIDs("8086:10D3") == PCIIDs(vendor: 0x8086, device: 0x10d3))
        #expect(PCIIDs("8086:10D3")?.description == "8086:10d3")
        for wrong in ["", ":", "8086", "8086:", "8086:10d3:", "0x8086:10d3", "086:10d3", "8086:10d33", "8086:+0d3"] {
            #expect(PCIIDs(wrong) == nil, "\(wrong)")
        }
    }

    @Test("a path is a function on a root bus and device and function of those below, whatever the bus numbers")
    func path() throws {
        let route = ["0000:00:1c.0", "0000:05:00.0", "0000:06:02.3"].compactMap { PCIAddress($0) }
        #expect(route.count == 3)
        for text in [
            "00:1c.0/00.0/02.3", "0000:00:1c.0/00.0/02.3", "00:1c.0/05:00.0/02.3", "00:1C.0/00.0/0000:06:02.3",
        ] {
            #expect(try #require(PCIPath(text)).leads(along: route), "\(text)")
        }
        for text in [
            "00:1c.0", "00:1c.0/00.0", "00:1c.0/00.0/02.3/00.0", "00:1c.0/00.0/02.4", "00:1c.0/07:00.0/02.3",
            "00:1d.0/00.0/02.3", "0001:00:1c.0/00.0/02.3",
        ] {
            #expect(!(try #require(PCIPath(text)).leads(along: route)), "\(text)")
        }
        #expect(PCIPath("00:1C.0/00.0")?.description == "0000:00:1c.0/00.0")
        #expect(PCIPath("00:1c.0")?.leads(along: []) == false)
        for wrong in [
            "", "/", "1c.0", "00:1c.0/", "/00:1c.0", "00:1c.0//00.0", "00:1c.0/0.0", "00:1c.0/20.0", "00:1c.0/x",
        ] {
            #expect(PCIPath(wrong) == nil, "\(wrong)")
        }
    }
}
