import InterruptSources
import LinuxSystem
import TestSupport
import Testing

/// A guest's writes, carried out by a group over the fakes: what arrives, and what it costs.
@Suite("Emulation over a group")
struct EmulationGroupTests {
    private final class Function {
        let setup: GroupSetup
        var guest: GuestTable

        init(_ kind: GroupKind = .table, count: Int) throws {
            setup = try GroupSetup(kind, count: count)
            guest = try GuestTable(count: count)
        }

        /// What a VMM does with a guest's write.
        func carryOut(_ change: InterruptChange?) {
            guard let change else { return }
            do { try setup.group.apply(change) } catch { guest.msix.refused() }
        }

        func setControl(enable: Bool, functionMask: Bool = false) {
            carryOut(guest.setControl(enable: enable, functionMask: functionMask))
        }

        func set(_ index: Int, word: Int, _ value: UInt32) { carryOut(guest.set(index, word: word, value)) }

        func setMessage(_ index: Int, data: UInt32) {
            for change in guest.setMessage(index, data: data) { carryOut(change) }
        }

        var pendingBits: UInt64 {
            guest.msix.read(bar: 2, at: GuestTable.pendingBits, 8) {
                (try? setup.group.pendingState($0)) ?? false
            }.value
        }

        var commits: Int { setup.calls.names.count { $0.hasPrefix("commit") } }
        func deliveries() throws -> [Int: Int] { try setup.deliveries() }
    }

    @Test("bring-up as a Linux guest does it: no commit while masked, one for each unmask", arguments: [1, 5, 64])
    func bringUp(_ count: Int) throws {
        let function = try Function(count: count)
        function.setControl(enable: true, functionMask: true)
        for index in 0..<count { function.set(index, word: 3, 1) }
        function.setControl(enable: true)
        #expect(function.commits == 0)
        for index in 0..<count {
            function.setup.calls.restart()
            function.setMessage(index, data: 0x40 + UInt32(index))
            #expect(function.setup.calls.names.isEmpty)
            function.set(index, word: 3, 0)
            #expect(function.commits == 1)
        }
        for index in 0..<count {
            function.setup.source.raise(index)
            #expect(try function.deliveries() == [index: 1])
            let message = GuestTable.message(data: 0x40 + UInt32(index))
            #expect(function.setup.sink.routes[function.setup.group.base + index] == .message(message))
        }
    }

    @Test("bring-up behind the function mask costs one commit in all")
    func bringUpTogether() throws {
        let function = try Function(count: 64)
        function.setControl(enable: true, functionMask: true)
        for index in 0..<64 {
            function.set(index, word: 3, 1)
            function.setMessage(index, data: 0x40 + UInt32(index))
            function.set(index, word: 3, 0)
        }
        #expect(function.commits == 0)
        function.setControl(enable: true)
        #expect(function.commits == 1)
        #expect(function.setup.sink.routes.count == 64)
        for index in [0, 63] {
            function.setup.source.raise(index)
            #expect(try function.deliveries() == [index: 1])
        }
    }

    @Test("an affinity move as a Linux guest does it costs one commit, none if the message is the same")
    func affinity() throws {
        let function = try Function(count: 4)
        function.setControl(enable: true)
        function.setMessage(2, data: 0x50)
        function.set(2, word: 3, 0)
        function.setup.calls.restart()
        function.set(2, word: 3, 1)
        function.setMessage(2, data: 0x51)
        #expect(function.commits == 0)
        function.set(2, word: 3, 0)
        #expect(function.commits == 1)
        function.set(2, word: 3, 1)
        function.set(2, word: 3, 0)
        #expect(function.commits == 1)
        function.setMessage(2, data: 0x52)
        #expect(function.commits == 2)
        #expect(
            function.setup.sink.routes[function.setup.group.base + 2] == .message(GuestTable.message(data: 0x52)))
    }

    @Test("T7: what is raised behind either mask is pending, and arrives once on unmask", arguments: GroupKind.tables)
    func pending(_ kind: GroupKind) throws {
        let function = try Function(kind, count: 4)
        for index in 0..<4 { function.setMessage(index, data: 0x40 + UInt32(index)) }
        for index in [0, 1, 3] { function.set(index, word: 3, 0) }
        function.setControl(enable: true)
        function.setup.source.raise(0)
        #expect(try function.deliveries() == [0: 1])
        #expect(function.pendingBits == 0)
        function.set(1, word: 3, 1)
        for _ in 0..<3 { function.setup.source.raise(1) }
        #expect(function.pendingBits == 0b0010)
        function.setControl(enable: true, functionMask: true)
        for _ in 0..<2 { function.setup.source.raise(3) }
        #expect(function.pendingBits == 0b1010)
        #expect(try function.deliveries().isEmpty)
        function.setControl(enable: true)
        #expect(try function.deliveries() == [3: 1])
        #expect(function.pendingBits == 0b0010)
        function.set(1, word: 3, 0)
        #expect(try function.deliveries() == [1: 1])
        #expect(function.pendingBits == 0)
        function.set(0, word: 3, 1)
        function.setup.source.raise(0)
        function.setControl(enable: false)
        #expect(function.pendingBits == 0)
        function.setControl(enable: true)
        function.set(0, word: 3, 0)
        #expect(try function.deliveries().isEmpty)
    }

    @Test("T3: the guest reads what is, whichever call of the group the kernel refuses", arguments: GroupKind.tables)
    func refused(_ kind: GroupKind) throws {
        let writes: [(Function) -> Void] = [
            { $0.setControl(enable: true) }, { $0.set(0, word: 3, 0) }, { $0.set(2, word: 3, 0) },
            { $0.setMessage(2, data: 0x77) }, { $0.setControl(enable: true, functionMask: true) },
            { $0.set(1, word: 3, 0) }, { $0.setControl(enable: true) }, { $0.set(1, word: 3, 1) },
            { $0.setControl(enable: false) },
        ]
        for failing in 0..<40 {
            let function = try Function(kind, count: 4)
            for index in 0..<4 { function.setMessage(index, data: 0x40 + UInt32(index)) }
            function.setup.calls.restart(failing: failing)
            for write in writes {
                write(function)
                let snapshot = function.setup.group.snapshot()
                #expect((snapshot.phase == .live) == function.guest.msix.isEnabled)
                for vector in snapshot.vectors where function.guest.msix.isEnabled {
                    #expect(vector.isMasked == function.guest.msix.isMasked(vector.index))
                }
            }
        }
    }

    @Test("a host out of vectors leaves the vector masked, and MSI-X on for the others")
    func exhausted() throws {
        let setup = try GroupSetup(.table, count: 4, hostVectors: 1)
        var guest = try GuestTable(count: 4)
        let (enabled, first) = (guest.setControl(enable: true), guest.set(1, word: 3, 0))
        for change in [enabled, first] { try setup.group.apply(try #require(change)) }
        let change = guest.set(2, word: 3, 0)
        let second = try #require(change)
        #expect(throws: InterruptError.hostExhausted(asked: 1, available: 0)) { try setup.group.apply(second) }
        guest.msix.refused()
        #expect(guest.word(2, 3) == 1 && guest.msix.isEnabled)
        setup.source.raise(1)
        #expect(try setup.deliveries() == [1: 1])
    }

    @Test("T3: one write of MSI mask bits masks and unmasks together, or not at all", arguments: [true, false])
    func maskBits(_ hasSink: Bool) throws {
        var failing = 0
        while true {
            let setup = try GroupSetup(hasSink ? .block : .blockHandedOut, count: 4)
            var msi = try EmulatedMSI(count: 4, masksVectors: true, at: 0x50)
            _ = msi.writeConfiguration(0xfee0_0000, 4, at: 0x54)
            _ = msi.writeConfiguration(0b0011, 1, at: 0x60)
            let enabled = msi.writeConfiguration(2 << 4 | 1, 2, at: 0x52)
            try setup.group.apply(try #require(enabled))
            _ = msi.writeConfiguration(0xfee0_1000, 4, at: 0x54)
            let change = msi.writeConfiguration(0b0110, 1, at: 0x60)
            let before = setup.standing
            setup.calls.restart(failing: failing)
            do {
                try setup.group.apply(try #require(change))
            } catch {
                msi.refused()
                #expect(setup.standing == before)
                #expect(msi.configuration(at: 0x60, 1) == [0b0011])
                failing += 1
                continue
            }
            setup.calls.restart()
            #expect(setup.group.snapshot().vectors.map(\.isMasked) == [false, true, true, false])
            for index in 0..<4 { setup.source.raise(index) }
            #expect(try setup.deliveries() == [0: 1, 3: 1])
            if hasSink {
                let message = InterruptMessage(address: 0xfee0_1000, data: 3)
                #expect(setup.sink.routes[setup.group.base + 3] == .message(message))
            }
            break
        }
        #expect(failing > 1)
    }
}
