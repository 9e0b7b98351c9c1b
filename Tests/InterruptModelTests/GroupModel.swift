import InterruptSources

/// What the contract says of one group, and nothing of how it is done. A value: a refused call leaves the one before.
struct GroupModel {
    /// What the host has for this group's device.
    struct Room {
        /// Vectors that can still be connected.
        var vectors: Int
        /// Interrupts that it allocates.
        var allocatable: Int
        /// Another type of the device is on.
        var isTaken: Bool
        /// The VM refuses addresses whose bits 39 to 32 are not 0.
        var checksAddresses: Bool
    }

    /// What the device keeps of a vector that is not connected: not to be seen, and on some kernels lost.
    enum Held: Int { case no, maybe, yes }

    struct Vector {
        var configuration = InterruptConfiguration()
        var isMasked = false
        var isWired = false
        var isAttached = false
        var route: InterruptMessage?
        /// Somebody else has the notifier.
        var isHandedOut = false
        var isPending = false
        var held = Held.no
    }

    enum Call {
        case enable([InterruptConfiguration]?)
        case enlarge([InterruptConfiguration])
        case disable
        case update(Int, [InterruptConfiguration])
        case mask(Range<Int>, releasing: Bool)
        case unmask(Range<Int>)
        case trigger(Int)
        case handOut(Int)
        /// Of so many vectors, notifiers of somebody else, or the group's own again.
        case handIn(Range<Int>, isForeign: Bool)
        case handInResample
        case destroy
    }

    let place: Place
    let hasSink: Bool
    let grows: Bool
    private(set) var phase = InterruptSnapshot.Phase.configured
    private(set) var active: Int
    var vectors: [Vector]
    /// How many vectors the host was asked for, which counts only where their number is fixed.
    private(set) var provided = 0

    init(_ place: Place, count: Int, hasSink: Bool, grows: Bool) {
        self.place = place
        self.hasSink = hasSink
        self.grows = grows && place.type == .msix
        active = count
        vectors = Array(repeating: Vector(), count: count)
    }

    var type: InterruptType { place.type }
    var isLive: Bool { phase == .live }

    /// Whether an event of this vector is to be delivered.
    func delivers(_ index: Int) -> Bool { isLive && index < active && !vectors[index].isMasked }

    /// Makes a call, as far as it can be known that it is done: everything but the kernel's refusals.
    mutating func make(_ call: Call, _ room: Room) throws(InterruptError) {
        switch call {
        case .disable:
            if isLive { turnOff() }
            return
        case .destroy:
            turnOff()
            phase = .destroyed
            return
        default: if phase == .destroyed { throw .destroyed }
        }
        switch call {
        case .enable(let given): try enable(given, room)
        case .enlarge(let given): try enlarge(given, room)
        case .update(let first, let given): try update(first, given, room)
        case .mask(let range, let releasing):
            try check(range)
            for index in range {
                vectors[index].isMasked = true
                if type != .msix || vectors[index].isHandedOut { vectors[index].isAttached = false }
                if releasing && type == .msix { release(index) }
            }
        case .unmask(let range):
            try check(range)
            if isLive {
                let changed = range.filter { $0 < active && vectors[$0].isMasked }
                for index in changed { try checkKind(vectors[index].configuration, isMasked: false) }
                try checkAddresses(changed, room)
                try connect(changed, room)
            }
            for index in range { vectors[index].isMasked = false }
        case .trigger(let index):
            try check(index..<index + 1)
            if !isLive || index >= active { throw .notEnabled }
        case .handOut(let index):
            guard vectors.indices.contains(index) else { return }
            if !vectors[index].isHandedOut && vectors[index].isMasked { vectors[index].isAttached = false }
            vectors[index].isHandedOut = true
        case .handIn(let range, let isForeign):
            try check(range)
            for index in range where isForeign || vectors[index].isHandedOut {
                if vectors[index].isMasked { vectors[index].isAttached = false }
                vectors[index].isHandedOut = isForeign
            }
        case .handInResample: if type != .legacy { throw .notLevelTriggered }
        case .disable, .destroy: break
        }
    }

    private mutating func enable(_ given: [InterruptConfiguration]?, _ room: Room) throws(InterruptError) {
        let remembered = vectors.prefix(active).map(\.configuration)
        var wanted = given ?? remembered
        let fits = type == .msi ? [1, 2, 4, 8, 16, 32].contains(wanted.count) : wanted.count == vectors.count
        guard fits, wanted.count <= vectors.count else {
            throw .wrongConfigurationCount(given: wanted.count, needed: vectors.count)
        }
        let masks = wanted.indices.map { given?[$0].startsMasked ?? vectors[$0].isMasked }
        for (configuration, isMasked) in zip(wanted, masks) { try checkKind(configuration, isMasked: isMasked) }
        if type == .msi { wanted = try block(wanted, size: wanted.count) }
        if isLive {
            if wanted != remembered { throw .alreadyEnabled }
            return
        }
        phase = .live
        active = wanted.count
        for index in 0..<active {
            vectors[index].configuration = wanted[index]
            vectors[index].isMasked = masks[index]
        }
        try checkAddresses((0..<active).filter { !vectors[$0].isMasked }, room)
        if room.isTaken { throw .otherTypeActive }
        try connect((0..<active).filter { type != .msix || !vectors[$0].isMasked }, room)
        for index in 0..<active where vectors[index].isMasked {
            (vectors[index].route, vectors[index].isAttached) = (nil, false)
        }
    }

    private mutating func enlarge(_ given: [InterruptConfiguration], _ room: Room) throws(InterruptError) {
        if type != .msi { throw .invalidCount(type, given.count) }
        if !isLive { throw .notEnabled }
        guard given.count > active, [2, 4, 8, 16, 32].contains(given.count), given.count <= vectors.count else {
            throw .wrongConfigurationCount(given: given.count, needed: vectors.count)
        }
        let masks = given.indices.map {
            $0 < active ? vectors[$0].isMasked : given[$0].startsMasked ?? vectors[$0].isMasked
        }
        for (configuration, isMasked) in zip(given, masks) { try checkKind(configuration, isMasked: isMasked) }
        let wanted = try block(given, size: given.count)
        let added = active..<wanted.count
        active = wanted.count
        for index in 0..<active {
            vectors[index].configuration = wanted[index]
            vectors[index].isMasked = masks[index]
        }
        let delivered = (0..<active).filter { !masks[$0] }
        try checkAddresses(delivered, room)
        try connect(Array(added), room)
        for index in added where masks[index] { (vectors[index].route, vectors[index].isAttached) = (nil, false) }
        for index in delivered where hasSink { vectors[index].route = vectors[index].configuration.message }
    }

    private mutating func update(
        _ first: Int, _ given: [InterruptConfiguration], _ room: Room
    ) throws(InterruptError) {
        try check(first..<first + given.count)
        for (index, configuration) in zip(first..., given) {
            let isMasked = (isLive ? nil : configuration.startsMasked) ?? vectors[index].isMasked
            try checkKind(configuration, isMasked: isMasked)
        }
        if given.isEmpty { return }
        if type == .msi {
            let pair = try block(given, size: active)[0].message
            for index in 0..<active {
                vectors[index].configuration.message = pair
                vectors[index].configuration.message?.data += UInt32(index)
            }
        }
        for (index, configuration) in zip(first..., given) {
            if type != .msi { vectors[index].configuration.message = configuration.message }
            if isLive { continue }
            vectors[index].configuration.startsMasked = configuration.startsMasked
            vectors[index].isMasked = configuration.startsMasked ?? vectors[index].isMasked
        }
        if type == .legacy { return }
        try checkAddresses(vectors.indices.filter { delivers($0) }, room)
        for index in vectors.indices where hasSink && delivers(index) {
            vectors[index].route = vectors[index].configuration.message
        }
    }

    /// What KVM would refuse to route.
    private func checkAddresses(_ indices: [Int], _ room: Room) throws(InterruptError) {
        guard hasSink, room.checksAddresses else { return }
        for index in indices {
            guard let address = vectors[index].configuration.message?.address else { continue }
            if (address >> 32) & 0xff != 0 { throw .addressRefused(address) }
        }
    }

    /// Connects vectors, or none if the host has not enough for all.
    private mutating func connect(_ indices: [Int], _ room: Room) throws(InterruptError) {
        guard isAllocated(indices, room) && fits(indices, room) else {
            var room = room
            // Said by what cannot be allocated, before a vector is connected.
            if !isAllocated(indices, room) { room.vectors = .max }
            let available = (0..<indices.count).last { count in
                isAllocated(indices.prefix(count), room) && fits(indices.prefix(count), room)
            }
            throw .hostExhausted(asked: indices.count, available: available ?? 0)
        }
        for index in indices {
            vectors[index].isWired = true
            vectors[index].isAttached = hasSink
            if hasSink && type != .legacy { vectors[index].route = vectors[index].configuration.message }
        }
        provided = max(provided, (indices.last ?? 0) + 1)
    }

    private func fits(_ indices: some Collection<Int>, _ room: Room) -> Bool {
        type == .legacy || indices.count { !vectors[$0].isWired } <= room.vectors
    }

    private func isAllocated(_ indices: some BidirectionalCollection<Int>, _ room: Room) -> Bool {
        let needed = (indices.last ?? 0) + 1
        return type == .legacy || grows || needed <= provided || needed <= room.allocatable
    }

    private mutating func turnOff() {
        phase = .configured
        provided = 0
        for index in vectors.indices { release(index) }
    }

    private mutating func release(_ index: Int) {
        vectors[index].isWired = false
        vectors[index].isAttached = false
        vectors[index].route = nil
    }

    private func check(_ range: Range<Int>) throws(InterruptError) {
        let count = vectors.count
        if range.lowerBound < 0 || range.lowerBound > count || range.lowerBound == count && !range.isEmpty {
            throw .noSuchVector(index: range.lowerBound, count: count)
        }
        if range.upperBound > count { throw .noSuchVector(index: count, count: count) }
    }

    private func checkKind(_ configuration: InterruptConfiguration, isMasked: Bool) throws(InterruptError) {
        let needsMessage = hasSink && !(type == .msix && isMasked)
        let hasMessage = configuration.message != nil
        if type == .legacy ? hasMessage : needsMessage && !hasMessage { throw .wrongConfigurationKind(type) }
    }

    /// A block's configurations: one pair of address and data, into whose low bits goes the index.
    private func block(
        _ given: [InterruptConfiguration], size: Int
    ) throws(InterruptError) -> [InterruptConfiguration] {
        let low = UInt32(size - 1)
        let pairs = Set(
            given.map { configuration in
                configuration.message.map { InterruptMessage(address: $0.address, data: $0.data & ~low) }
            })
        guard pairs.count == 1, let pair = pairs.first else { throw .differentMessages }
        return given.enumerated().map { index, configuration in
            let message = pair.map { InterruptMessage(address: $0.address, data: $0.data + UInt32(index)) }
            return InterruptConfiguration(message: message, startsMasked: configuration.startsMasked)
        }
    }
}
