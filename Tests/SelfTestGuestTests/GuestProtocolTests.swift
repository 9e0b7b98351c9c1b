import Glibc
import LinuxSystem
import SelfTestProtocol
import SystemPackage
import TestSupport
import Testing

@Suite("What vfiod and the self-test guest say and share")
struct GuestProtocolTests {
    /// vfiod's side, and the other end, which a test plays as badly as it likes.
    private struct Ends: ~Copyable {
        let connection: GuestConnection
        let guest: UnixSocket

        init(timeout: Duration = .seconds(20)) throws {
            let pair = try UnixSocket.pair(.packets)
            let ours = UnixSocket(adopting: try pair.first.duplicate())
            let theirs = UnixSocket(adopting: try pair.second.duplicate())
            connection = GuestConnection(ours, timeout: timeout)
            guest = theirs
        }

        /// Sends an answer before it is asked for, which the socket keeps.
        func answer(_ packet: String) throws { _ = try guest.send(Array(packet.utf8)) }
    }

    @Test("slots are numbered through the virtual CPUs, and blocks of up to 32 are aligned")
    func slots() throws {
        #expect(GuestSlot(index: -1) == nil)
        #expect(GuestSlot(index: GuestSlot.maximumSlots) == nil)
        #expect(GuestSlot(index: .max) == nil)
        let slots = try (0..<GuestSlot.maximumSlots).map { try #require(GuestSlot(index: $0)) }
        #expect(Set(slots.map { [$0.vcpu, Int($0.vector)] }).count == slots.count)
        #expect(slots.allSatisfy { $0.vcpu < GuestSlot.maximumVCPUs && $0.vector >= 32 && $0.vector < 252 })
        for index in 0..<32 { #expect(slots[index].vector == slots[0].vector | UInt8(index)) }
        #expect(slots[220].vcpu == 1 && slots[220].vector == 32)
        #expect([0, -1, .min, GuestSlot.maximumSlots + 1, .max].allSatisfy { GuestSlot.vcpus(forSlots: $0) == nil })
        #expect([1, 220, 221, 2048].map { GuestSlot.vcpus(forSlots: $0) } == [1, 1, 2, 10])
    }

    @Test("counters tell slots, strays and exceptions apart")
    func counters() throws {
        let counters = try GuestCounters(slots: 221)
        let guest = try SharedMemory(
            received: OwnedDescriptor(adopting: dup(counters.descriptor)), length: GuestCounters.length(vcpus: 2))
        #expect(counters.vcpus == 2)
        func store(vcpu: Int, vector: Int, _ value: UInt32) {
            guest.memory.store32(value, at: (1 + vcpu) * GuestCounters.pageSize + vector * 4)
        }
        store(vcpu: 0, vector: 32, 7)
        store(vcpu: 0, vector: 251, 8)
        store(vcpu: 1, vector: 32, 9)
        #expect(counters.count(ofSlot: 0) == 7)
        #expect(counters.count(ofSlot: 219) == 8)
        #expect(counters.count(ofSlot: 220) == 9)
        #expect([-1, 221, .max, .min].allSatisfy { counters.count(ofSlot: $0) == 0 })
        #expect(counters.strays() == 0)
        #expect(counters.exceptions() == 0)
        // A vector of no slot, and one of a slot that this guest does not have.
        store(vcpu: 0, vector: 255, 1)
        store(vcpu: 1, vector: 33, 2)
        store(vcpu: 1, vector: 13, 4)
        #expect(counters.strays() == 3)
        #expect(counters.exceptions() == 4)
        counters.acknowledge(5)
        #expect(guest.memory.load32(at: GuestCounters.acknowledgeOffset) == 5)
        // Whatever a guest may write, nothing traps.
        for vcpu in 0..<2 { for vector in 0..<256 { store(vcpu: vcpu, vector: vector, .max) } }
        #expect(counters.strays() == Int(UInt32.max) * (2 * 224 - 221))
        #expect(counters.count(ofSlot: 0) == .max)
    }

    @Test("counters cannot be made for a guest that cannot be", arguments: [0, -1, 3521, .max, .min])
    func noCounters(slots: Int) {
        let error = #expect(throws: KernelError.self) { _ = try GuestCounters(slots: slots) }
        #expect(error?.errno == .invalidArgument)
    }

    @Test(
        "what is written is read again",
        arguments: [
            GuestRequest.setUp(delivery: .edge, slots: 440, fault: nil),
            .setUp(delivery: .level, slots: 1, fault: .stopVCPU), .connect(first: 0, count: 253),
            .disconnect(first: 5, count: 1), .finish,
        ])
    func requests(request: GuestRequest) throws {
        #expect(try GuestChannel.decode(GuestRequest.self, try GuestChannel.encode(request)) == request)
    }

    @Test("a failure crosses with its errno and its hint")
    func failure() throws {
        let ends = try Ends()
        let failure = GuestFailure(
            step: "open KVM", KernelError("open", on: "/dev/kvm", .noSuchFileOrDirectory), hint: "load \"kvm_amd\"/\n")
        _ = try ends.guest.send(try GuestChannel.encode(GuestReply.failed(failure)))
        let error = #expect(throws: GuestProtocolError.self) {
            try ends.connection.setUp(.edge, counters: try GuestCounters(slots: 1))
        }
        #expect(error == .failed(failure))
        #expect(failure.kernelError.errno == .noSuchFileOrDirectory)
        #expect(failure.kernelError.call == "open /dev/kvm")
    }

    @Test(
        "an answer that is none is refused by name",
        arguments: [
            "", "x", "{}", "null", #"{"ready":{}} "#, #"{"ready":{},"connected":{}}"#, #"{"ready":{"x":1}}"#,
            #"{"failed":{}}"#, #"{"failed":{"_0":{"call":"","errno":99999999999,"hint":"","step":""}}}"#,
            #"{"connected":{}}"#, #"{"disconnected":{}}"#, String(repeating: #"{"failed":"#, count: 7000),
            String(repeating: "a", count: 65_537), String(repeating: "a", count: 100_000),
        ])
    func badAnswers(packet: String) throws {
        let ends = try Ends()
        if packet.isEmpty {
            try ends.guest.shutdownWriting()
        } else {
            try ends.answer(packet)
        }
        let counters = try GuestCounters(slots: 1)
        let error = #expect(throws: GuestProtocolError.self) { try ends.connection.setUp(.edge, counters: counters) }
        switch error {
        case .closed: #expect(packet.isEmpty)
        case .truncated: #expect(packet.utf8.count > GuestChannel.maximumBytes)
        case .unexpected(let reply): #expect(reply == .connected || reply == .disconnected)
        case .malformed(let reason): #expect(!reason.isEmpty)
        default: Issue.record("\(String(describing: error))")
        }
    }

    @Test("descriptors that nobody asked for are closed")
    func unwantedDescriptors() throws {
        let ends = try Ends()
        let pair = try UnixSocket.pair(.stream)
        let ours = UnixSocket(adopting: try pair.first.duplicate())
        _ = try ends.guest.send(try GuestChannel.encode(GuestReply.ready), descriptors: [pair.second.rawValue])
        // Only the copy in the packet is left of the other end.
        pair.take { _, _ in }
        try ends.connection.setUp(.edge, counters: try GuestCounters(slots: 1))
        #expect(try ours.receive().bytes.isEmpty)
    }

    @Test("silence ends with the timeout, and a dead guest at once")
    func silence() throws {
        let ends = try Ends(timeout: .milliseconds(20))
        let counters = try GuestCounters(slots: 1)
        #expect(throws: GuestProtocolError.timedOut) { try ends.connection.setUp(.edge, counters: counters) }
        let pair = try UnixSocket.pair(.packets)
        let orphaned = GuestConnection(UnixSocket(adopting: try pair.first.duplicate()))
        pair.take { _, _ in }
        #expect(throws: GuestProtocolError.closed) { try orphaned.setUp(.edge, counters: counters) }
        #expect(throws: GuestProtocolError.closed) { try orphaned.finish() }
    }

    @Test("a window larger than a packet goes in several, and an empty one in none")
    func packets() throws {
        let ends = try Ends()
        let notifiers = try (0..<300).map { _ in try EventFD() }
        try ends.answer(#"{"connected":{}}"#)
        try ends.answer(#"{"connected":{}}"#)
        try ends.connection.connect([])
        try ends.connection.connect(first: 7, notifiers)
        let first = try ends.guest.receive()
        #expect(String(decoding: first.bytes, as: UTF8.self) == #"{"connect":{"count":253,"first":7}}"#)
        #expect(first.descriptors.count == 253)
        let second = try ends.guest.receive()
        #expect(String(decoding: second.bytes, as: UTF8.self) == #"{"connect":{"count":47,"first":260}}"#)
        #expect(second.descriptors.count == 47)
        // And they are the same eventfds.
        try notifiers[299].signal()
        let received = try #require(second.descriptors.last)
        #expect(try EventFD(adopting: received.duplicate()).drain() == 1)
    }
}
