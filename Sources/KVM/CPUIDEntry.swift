/// What the CPUID instruction answers for one leaf (struct kvm_cpuid_entry2).
public struct CPUIDEntry: Hashable, Sendable {
    /// The leaf, as given in EAX.
    public var function: UInt32
    /// The subleaf, as given in ECX, where it matters.
    public var index: UInt32
    /// KVM_CPUID_FLAG_*.
    public var flags: UInt32
    /// EAX of the answer.
    public var eax: UInt32
    /// EBX of the answer.
    public var ebx: UInt32
    /// ECX of the answer.
    public var ecx: UInt32
    /// EDX of the answer.
    public var edx: UInt32

    // struct kvm_cpuid2 as words: the number of entries, padding, then ten words each.
    private static let headerWords = 2
    private static let entryWords = 10
    // KVM_MAX_CPUID_ENTRIES, arch/x86/include/asm/kvm_host.h.
    private static let maximumEntries = 256

    static let emptyTable =
        [UInt32(maximumEntries), 0] + [UInt32](repeating: 0, count: maximumEntries * entryWords)

    static func table(_ entries: [CPUIDEntry]) -> [UInt32] {
        entries.reduce(into: [UInt32(clamping: entries.count), 0]) { words, entry in
            words += [entry.function, entry.index, entry.flags, entry.eax, entry.ebx, entry.ecx, entry.edx, 0, 0, 0]
        }
    }

    static func entries(in words: [UInt32]) -> [CPUIDEntry] {
        let count = min(Int(words.first ?? 0), (words.count - headerWords) / entryWords)
        return (0..<count).map { number in
            let word = words[(headerWords + number * entryWords)...].prefix(entryWords).map(\.self)
            return CPUIDEntry(
                function: word[0], index: word[1], flags: word[2], eax: word[3], ebx: word[4], ecx: word[5],
                edx: word[6])
        }
    }
}
