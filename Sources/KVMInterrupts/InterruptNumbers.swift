internal import KVM

/// Who has the interrupt numbers of a VM: nobody, somebody who reserved them, or others with routes of their own.
struct InterruptNumbers: Sendable {
    private enum Owner {
        /// Free, or somebody else's.
        case nobody
        case reserved
        /// Given back while it had a route.
        case abandoned
    }

    /// What can be reserved: above the IOAPIC's pins, below KVM's limit.
    static let messages = 24..<KVMRoute.maximumCount

    private var allocator: NumberAllocator
    private var owners = Array(repeating: Owner.nobody, count: KVMRoute.maximumCount)
    /// How many entries of a table others take.
    private var foreignCount: Int
    /// How many numbers are reserved or abandoned, and may have a route of ours.
    private(set) var ownCount = 0
    /// Numbers that wait for a table without their routes. Until then they cannot be had again: their next owner would
    /// get the interrupts of the last.
    private(set) var abandoned: [Int] = []

    /// All free but those that `foreign` routes have.
    init(foreign: [KVMRoute]) {
        allocator = NumberAllocator(InterruptNumbers.messages, except: Set(foreign.map { Int($0.gsi) }))
        foreignCount = foreign.count
    }

    /// The most consecutive numbers that ``reserve(_:)`` would give.
    var available: Int { min(room, allocator.largest) }

    /// Whether somebody has reserved it.
    func isReserved(_ number: Int) -> Bool { owners.indices.contains(number) && owners[number] == .reserved }

    /// Whether it may have a route of ours.
    func isOurs(_ number: Int) -> Bool { owners.indices.contains(number) && owners[number] != .nobody }

    /// Takes consecutive numbers; nil if there are too few, or if the table could not hold routes for all.
    mutating func reserve(_ count: Int) -> Range<Int>? {
        guard count <= room, let numbers = allocator.take(count) else { return nil }
        for number in numbers { owners[number] = .reserved }
        ownCount += count
        return numbers
    }

    /// Gives a reserved number back, which still has a route or not.
    mutating func release(_ number: Int, hasRoute: Bool) {
        if hasRoute {
            owners[number] = .abandoned
            abandoned.append(number)
        } else {
            free(number)
        }
    }

    /// A table without the routes of the abandoned numbers is in force.
    mutating func freeAbandoned() {
        for number in abandoned { free(number) }
        abandoned = []
    }

    /// The same owners beside other foreign routes, none of which may have a number of ours.
    func replacing(foreign: [KVMRoute]) -> InterruptNumbers {
        var numbers = self
        let taken = Set(foreign.map { Int($0.gsi) }).union(owners.indices.filter { isOurs($0) })
        numbers.allocator = NumberAllocator(InterruptNumbers.messages, except: taken)
        numbers.foreignCount = foreign.count
        return numbers
    }

    /// How many more numbers could have a route of their own.
    private var room: Int { max(0, KVMRoute.maximumCount - foreignCount - ownCount) }

    private mutating func free(_ number: Int) {
        owners[number] = .nobody
        ownCount -= 1
        allocator.give(number..<number + 1)
    }
}
