import InterruptSources
import KVMInterrupts
import LinuxSystem
import SystemPackage
import TestSupport
import Testing

/// The contract's table against the kernel: interrupts go into a real guest, and come from real devices where there are.
@Suite("The contract on a real KVM", .enabled(if: Requirements.kvm, "needs /dev/kvm"), .serialized)
struct StandContractTests {
    @Test("in lock-step every raise is one delivery, on its own vector alone", arguments: Stand.here)
    func lockStep(_ stand: Stand) throws {
        let bench = try StandBench(stand)
        #expect(throws: InterruptError.notEnabled) { try bench.group.trigger(0) }
        try bench.group.enable(bench.configurations())
        for _ in 0..<5 {
            for index in 0..<bench.group.count {
                try bench.expectRaised(index)
                try bench.expectOne(index) { try bench.group.trigger(index) }
            }
        }
        try bench.group.disable()
        let total = bench.deliveries
        try bench.raiser.raise(0)
        try bench.withdraw()
        try bench.expectQuiet(total)
    }

    @Test(
        "nothing is delivered while masked, and one interrupt on unmask if any was raised",
        arguments: Stand.messages, [0, 1, 2, 1000])
    func masked(_ stand: Stand, raises: Int) throws {
        let bench = try StandBench(stand)
        let group = bench.group
        try group.enable(bench.configurations())
        for index in [0, group.count - 1] {
            let total = bench.deliveries
            try group.mask(index)
            // A message of a real device is on its way for a while.
            for _ in 0..<raises { try bench.raiser.raise(index) }
            if raises > 0 { #expect(eventually { (try? group.pendingState(index)) == true }) }
            try bench.expectQuiet(total)
            #expect(try group.pendingState(index) == (raises > 0))
            if raises > 0 {
                try bench.expectOne(index) { try group.unmask(index) }
            } else {
                try group.unmask(index)
                try bench.expectQuiet(total)
            }
            #expect(try group.pendingState(index) == false)
            try bench.expectRaised(index)
        }
    }

    @Test("a trigger while masked is delivered once, on unmask", arguments: Stand.here)
    func triggerWhileMasked(_ stand: Stand) throws {
        let bench = try StandBench(stand)
        try bench.group.enable(bench.configurations())
        try bench.group.mask(0)
        let total = bench.deliveries
        try bench.group.trigger(0)
        try bench.group.trigger(0)
        try bench.expectQuiet(total)
        #expect(try bench.group.pendingState(0))
        try bench.expectOne(0) { try bench.group.unmask(0) }
        try bench.expectRaised(0)
    }

    @Test(
        "a vector that starts masked remembers what the device raises",
        arguments: Stand.messages.filter(\.remembersUnwired))
    func startsMasked(_ stand: Stand) throws {
        let bench = try StandBench(stand)
        try bench.group.enable(bench.configurations(masked: true))
        let last = bench.group.count - 1
        try bench.raiser.raise(last)
        try bench.expectQuiet(0)
        try bench.expectOne(last) { try bench.group.unmask(last) }
        try bench.expectRaised(last)
    }

    @Test("disable forgets what was pending and keeps the masks", arguments: Stand.messages)
    func disableDrains(_ stand: Stand) throws {
        let bench = try StandBench(stand)
        let group = bench.group
        try group.enable(bench.configurations())
        try bench.expectRaised(0)
        try group.mask(0)
        let total = bench.deliveries
        try bench.raiser.raise(0)
        #expect(eventually { (try? group.pendingState(0)) == true })
        try group.trigger(0)
        try group.disable()
        #expect(bench.guest.kernel.routes == 40, "only the routes of the pins are left")
        try group.enable()
        #expect(group.snapshot().vectors.first?.isMasked == true)
        #expect(try group.pendingState(0) == false)
        try group.unmask(0)
        try bench.expectQuiet(total)
        try bench.expectRaised(0)
    }

    @Test("an update moves a live vector, and nothing arrives on the old message any more", arguments: Stand.messages)
    func updateLive(_ stand: Stand) throws {
        let bench = try StandBench(stand)
        let group = bench.group
        try group.enable(bench.configurations())
        let commits = bench.guest.kernel.count("KVM_SET_GSI_ROUTING")
        let last = group.count - 1
        try group.update(last, bench.configuration(last, shift: 32))
        #expect(bench.guest.kernel.count("KVM_SET_GSI_ROUTING") == commits + 1)
        try group.update(last, bench.configuration(last, shift: 32))
        #expect(bench.guest.kernel.count("KVM_SET_GSI_ROUTING") == commits + 1, "nothing changed")
        try bench.expectRaised(last, shift: 32)
        // An MSI block is one pair, and moves as a whole.
        if last > 0 { try bench.expectRaised(0, shift: stand.type == .msi ? 32 : 0) }
    }

    @Test("an update of a masked vector takes no table, and is in force on unmask", arguments: Stand.messages)
    func updateMasked(_ stand: Stand) throws {
        let bench = try StandBench(stand)
        let group = bench.group
        try group.enable(bench.configurations())
        try group.mask(0..<group.count)
        let commits = bench.guest.kernel.count("KVM_SET_GSI_ROUTING")
        for index in 0..<group.count { try group.update(index, bench.configuration(index, shift: 64)) }
        #expect(bench.guest.kernel.count("KVM_SET_GSI_ROUTING") == commits)
        try group.unmask(0..<group.count)
        #expect(bench.guest.kernel.count("KVM_SET_GSI_ROUTING") == commits + 1)
        for index in 0..<group.count { try bench.expectRaised(index, shift: 64) }
    }

    @Test(
        "an address that the kernel refuses changes nothing, whoever checks it",
        arguments: Stand.messages, [true, false])
    func refusedAddress(_ stand: Stand, checked: Bool) throws {
        let bench = try StandBench(stand, checksAddresses: checked)
        let group = bench.group
        // Bits 39 to 32 are reserved where local APIC ids have 32 bits.
        let bad = (0..<group.count).map { index in
            var configuration = bench.configuration(index)
            configuration.message?.address |= 1 << 32
            return configuration
        }
        for attempt in 0..<2 {
            let commits = bench.guest.kernel.count("KVM_SET_GSI_ROUTING")
            let error = #expect(throws: InterruptError.self) {
                if attempt == 0 { try group.enable(bad) } else { try group.update(0, bad[0]) }
            }
            if checked {
                #expect(error == .addressRefused(bad[0].message?.address ?? 0))
            } else if case .kernel(let refusal) = error {
                #expect(refusal.errno == .invalidArgument)
            } else {
                Issue.record("\(String(describing: error))")
            }
            #expect((bench.guest.kernel.count("KVM_SET_GSI_ROUTING") > commits) == !checked)
            #expect(group.snapshot().phase == (attempt == 0 ? .configured : .live))
            try group.enable(bench.configurations())
            for index in 0..<group.count { try bench.expectRaised(index) }
        }
    }

    @Test("a wrong index, kind or number changes nothing", arguments: Stand.here)
    func badInput(_ stand: Stand) throws {
        let bench = try StandBench(stand)
        let group = bench.group
        let configurations = bench.configurations()
        #expect(throws: InterruptError.self) { try group.enable(configurations + configurations + configurations) }
        #expect(throws: InterruptError.wrongConfigurationKind(stand.type)) {
            let wrong = stand.type == .legacy ? bench.guest.message(0) : nil
            try group.enable(configurations.map { _ in InterruptConfiguration(message: wrong) })
        }
        try group.enable(configurations)
        for index in [-1, group.count, .max, .min] {
            let error = InterruptError.noSuchVector(index: index, count: group.count)
            #expect(throws: error) { try group.update(index, configurations[0]) }
            #expect(throws: error) { try group.trigger(index) }
            #expect(throws: error) { try group.mask(index) }
            #expect(throws: error) { try group.unmask(index) }
            #expect(try group.notifier(index) == nil)
            #expect(try group.pendingState(index) == false)
        }
        #expect(throws: InterruptError.alreadyEnabled) { try group.enable(bench.configurations(masked: true)) }
        try bench.expectQuiet(0)
        for index in 0..<group.count { try bench.expectRaised(index) }
    }

    @Test("destroyed, a group delivers nothing, and its numbers and routes are free", arguments: Stand.messages)
    func destroyed(_ stand: Stand) throws {
        let bench = try StandBench(stand)
        let group = bench.group
        try group.enable(bench.configurations())
        try bench.expectRaised(0)
        let total = bench.deliveries
        group.destroy()
        try bench.raiser.raise(0)
        try bench.expectQuiet(total)
        #expect(throws: InterruptError.destroyed) { try group.enable(bench.configurations()) }
        #expect(bench.guest.kernel.routes == 40)
        #expect(try bench.guest.sink.reserve(4056) == 24)
    }

    @Test("a handed-out notifier of a masked vector delivers nothing, whoever writes it", arguments: Stand.messages)
    func handedOut(_ stand: Stand) throws {
        let bench = try StandBench(stand)
        let group = bench.group
        try group.enable(bench.configurations())
        let notifier = try #require(try group.notifier(0))
        try bench.expectOne(0) { try notifier.signal() }
        try bench.expectOne(0) { try group.trigger(0) }
        try group.mask(0)
        let total = bench.deliveries
        try notifier.signal()
        try bench.expectQuiet(total)
        try bench.expectOne(0) { try group.unmask(0) }
        try bench.expectRaised(0)
    }
}
