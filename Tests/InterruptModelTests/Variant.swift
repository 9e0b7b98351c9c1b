import TestSupport

/// What a run is made on: a device, a host, and whether the VM is ours.
struct Variant: Hashable, Sendable {
    /// Whether the group drives a VM of this process; otherwise all notifiers are handed out.
    var hasSink = true
    /// 1 to 32, a power of two.
    var blockCount = 4
    /// 1 to 2,048.
    var tableCount = 4
    /// Before it, VFIO_IRQ_INFO_NORESIZE is set for MSI-X.
    var isLinux6dot5 = true
    /// How many vectors the host has to give away.
    var hostVectors = 1000
    /// How many interrupts the host allocates for the device.
    var allocatable = 2048
    /// Whether a line that is asserted already fires when INTx is turned on.
    var noticesLineWhenEnabled = true
    /// Whether the VM's local APIC ids have 32 bits, with which KVM checks addresses.
    var hasWideAPICIDs = false

    /// One of all, by chance; mostly small, because small tables meet each other's edges more often.
    static func random(_ random: inout SplitMix64) -> Variant {
        var variant = Variant()
        variant.hasSink = !random.once(in: 3)
        variant.blockCount = random.pick([1, 2, 4, 4, 8, 16, 32])
        variant.tableCount = random.pick([1, 2, 3, 4, 4, 5, 8, 13, 40])
        variant.isLinux6dot5 = !random.once(in: 3)
        if random.once(in: 3) { variant.hostVectors = 1 + random.below(variant.tableCount + 2) }
        if random.once(in: 4) { variant.allocatable = 1 + random.below(max(variant.blockCount, variant.tableCount)) }
        variant.noticesLineWhenEnabled = !random.once(in: 3)
        variant.hasWideAPICIDs = random.once(in: 2)
        return variant
    }
}

extension Variant: CustomStringConvertible {
    var description: String {
        "Variant(hasSink: \(hasSink), blockCount: \(blockCount), tableCount: \(tableCount), "
            + "isLinux6dot5: \(isLinux6dot5), hostVectors: \(hostVectors), allocatable: \(allocatable), "
            + "noticesLineWhenEnabled: \(noticesLineWhenEnabled), hasWideAPICIDs: \(hasWideAPICIDs))"
    }
}
