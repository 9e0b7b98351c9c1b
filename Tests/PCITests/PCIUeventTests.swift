import PCI
import TestSupport
import Testing

@Suite("Uevents about PCI") struct PCIUeventTests {
    private static let path = "/devices/pci0000:00/0000:00:1c.0/0000:01:00.0"

    private func message(_ fields: [String]) -> [UInt8] { Array(fields.map { $0 + "\0" }.joined().utf8) }

    private func event(
        _ action: String, _ path: String = PCIUeventTests.path, subsystem: String = "pci", with fields: [String] = []
    ) throws(PCIUevent.Malformed) -> PCIUevent {
        try PCIUevent(
            message(["\(action)@\(path)", "ACTION=\(action)", "DEVPATH=\(path)", "SUBSYSTEM=\(subsystem)"] + fields))
    }

    @Test("The kernel's events of functions are read", arguments: PCIUevent.Action.allCases)
    func actions(action: PCIUevent.Action) throws {
        let address = try #require(PCIAddress("0000:01:00.0"))
        let fields = ["DRIVER=e1000e", "PCI_CLASS=20000", "PCI_SLOT_NAME=0000:01:00.0", "MODALIAS=", "SEQNUM=2043"]
        #expect(try event(action.rawValue, with: fields) == .function(action, address))
    }

    @Test("A move names where the function was, if it has another address now") func move() throws {
        let address = try #require(PCIAddress("0000:01:00.0"))
        let old = try #require(PCIAddress("0000:02:00.0"))
        #expect(
            try event("move", with: ["DEVPATH_OLD=/devices/pci0000:00/0000:02:00.0"])
                == .function(.move, address, previous: old))
        #expect(
            try event("move", with: ["DEVPATH_OLD=/devices/pci0000:01/0000:01:00.0"]) == .function(.move, address))
    }

    @Test("What is about something else, or was asked for by somebody, is nothing to us") func unrelated() throws {
        #expect(try event("add", "/devices/virtual/net/lo", subsystem: "net") == .unrelated)
        #expect(try event("add", "/bus/pci/drivers/e1000e", subsystem: "drivers") == .unrelated)
        #expect(try event("remove", with: ["SYNTH_UUID=0"]) == .unrelated)
        #expect(try event("add", "/bus/pci/slots/4", subsystem: "slots") == .slots)
    }

    @Test(
        "What the kernel would not send is malformed",
        arguments: [
            [], ["add"], ["add@/devices/pci0000:00/0000:01:00.0"],
            ["add@/x", "ACTION=add", "DEVPATH=/y", "SUBSYSTEM=pci"],
            ["add@/x", "ACTION=remove", "DEVPATH=/x", "SUBSYSTEM=pci"],
            ["add@", "ACTION=add", "DEVPATH=", "SUBSYSTEM=pci"],
            ["add@/x", "ACTION=add", "DEVPATH=/x"], ["libudev", "\u{fe}\u{ed}", "ACTION=add"], ["@", "@", "@"],
            ["add@/devices/x", "ACTION=add", "DEVPATH=/devices/x", "SUBSYSTEM=pci"],
            ["explode@/devices/0000:01:00.0", "ACTION=explode", "DEVPATH=/devices/0000:01:00.0", "SUBSYSTEM=pci"],
            ["add@/etc/0000:01:00.0", "ACTION=add", "DEVPATH=/etc/0000:01:00.0", "SUBSYSTEM=pci"],
        ])
    func malformed(fields: [String]) {
        #expect(throws: PCIUevent.Malformed.self) { try PCIUevent(message(fields)) }
    }

    @Test("A message must end where a field ends") func cut() {
        let whole = message(["add@/x", "ACTION=add", "DEVPATH=/x", "SUBSYSTEM=net"])
        #expect(throws: Never.self) { try PCIUevent(whole) }
        for length in [0, 1, 5, whole.count - 1] {
            #expect(throws: PCIUevent.Malformed.self) { try PCIUevent(Array(whole.prefix(length))) }
        }
    }

    @Test("No bytes do harm") func hostileBytes() throws {
        var random = SplitMix64(seed: 7)
        let whole = message(["add@\(Self.path)", "ACTION=add", "DEVPATH=\(Self.path)", "SUBSYSTEM=pci", "SEQNUM=1"])
        for _ in 0..<2000 {
            var bytes = whole
            for _ in 0..<(1 + random.next() % 6) {
                bytes[Int(random.next() % UInt64(bytes.count))] = UInt8(truncatingIfNeeded: random.next())
            }
            _ = try? PCIUevent(bytes)
        }
    }
}
