import PCI
import Testing

@testable import Passthrough

@Suite("How callers name devices") struct SelectorTests {
    @Test("A text is an address, a name, or parts") func forms() throws {
        let address = try #require(PCIAddress("0000:00:10.0"))
        #expect(DeviceSelector("00:10.0") == .address(address))
        #expect(DeviceSelector("0000:00:10.0") == .address(address))
        for name in ["nic0", "a", "7", "10.0", "gpu.left_2-x", String(repeating: "n", count: 64), "cafe", "00-10"] {
            #expect(DeviceSelector(name) == .name(name))
        }
        var identity = DeviceIdentity()
        identity.id = PCIIDs(vendor: 0x8086, device: 0x10d3)
        identity.slot = "4=x"
        #expect(DeviceSelector("id=8086:10D3,slot=4=x") == .identity(identity))
        #expect(DeviceSelector("slot=4=x,id=8086:10d3")?.description == "slot=4=x,id=8086:10d3")
        let all =
            "address=0000:00:10.0,path=0000:00:10.0,serial=52-54-00-ff-ff-12-34-56,slot=4,id=1234:11e8,subsystem=1af4:1100"
        #expect(DeviceSelector(all)?.description == all)
    }

    @Test(
        "What is none of them is refused",
        arguments: [
            "", " ", "-nic", ".nic", "_nic", "nic 0", "nic/0", "../../x", "nic\0", "nic\n", "ník", "０", "a:b",
            "0000:00:10",
            "0000:00:10.8", "0000:00:20.0", "0000-00-10.0", "0000.00.10.0", "00_10_0", "00-10.0", "=", "=x", "id=",
            "id=8086", "id=8086:10d3,", ",id=8086:10d3", "id=8086:10d3,id=8086:10d3", "id=8086:10d3,slot",
            "ID=8086:10d3",
            "driver=e1000e", "serial=", "serial=x", "path=", "path=x", "slot=", "slot=\u{7}", "address=x",
        ]) func refused(text: String)
    {
        #expect(DeviceSelector(text) == nil)
    }

    @Test("A text that is too long is refused") func length() {
        #expect(DeviceSelector(String(repeating: "n", count: 65)) == nil)
        #expect(DeviceSelector("slot=" + String(repeating: "4", count: 64)) != nil)
        #expect(DeviceSelector("slot=" + String(repeating: "4", count: 65)) == nil)
        #expect(DeviceSelector("path=00:1c.0" + String(repeating: "/00.0", count: 1 << 18)) == nil)
    }

    @Test("No bytes make it fail, and what it reads it reads again from its own text") func random() {
        var state: UInt64 = 1
        func next(_ count: Int) -> Int {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int(state >> 33) % count
        }
        let pieces = [
            "id=", "serial=", "path=", "slot=", "address=", "subsystem=", "8086:10d3", "52-54-00-ff-ff-12-34-56",
            "00:1c.0",
            "/00.0", ",", "=", ":", ".", "0", "\0", "é", "nic",
        ]
        var read = 0
        for _ in 0..<20_000 {
            let text = (0..<next(7)).map { _ in pieces[next(pieces.count)] }.joined()
            guard let selector = DeviceSelector(text) else { continue }
            read += 1
            #expect(DeviceSelector(selector.description) == selector, "\(text)")
        }
        #expect(read > 100)
    }
}
