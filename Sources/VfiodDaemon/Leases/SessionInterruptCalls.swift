internal import InterruptSources
internal import LinuxSystem
internal import SystemPackage
internal import Varlink
internal import VfiodAPI

/// The methods of io.vfiod.lease that are about interrupts.
func sessionInterruptMethods(_ server: LeaseServer) -> [String: VarlinkMethod] {
    [
        Session.SetNotifiers.name: VarlinkMethod(taking: { (asked: Session.NotifierParameters) in max(1, asked.count) })
        {
            [weak server] (asked, call) async throws(VarlinkError) in
            let (type, range) = (try interruptType(asked.type), try asked.range())
            try await server.interrupts { (device) throws(InterruptError) in
                let eventfds = try eventFDs(call)
                try device.makeGroup(type, count: asked.vectors).setNotifiers(first: range.lowerBound, eventfds)
            }
            return (NoParameters(), [])
        },
        Session.GetNotifiers.name: VarlinkMethod(taking: { (_: Session.NotifierParameters) in 0 }) {
            [weak server] (asked, _) async throws(VarlinkError) in
            let (type, range) = (try interruptType(asked.type), try asked.range())
            let eventfds = try await server.interrupts { (device) throws(InterruptError) in
                let group = try device.makeGroup(type, count: asked.vectors)
                return try range.map { (index) throws(InterruptError) in
                    guard let notifier = try group.notifier(index) else {
                        throw .noSuchVector(index: index, count: group.count)
                    }
                    return try shared(notifier)
                }
            }
            return (NoParameters(), eventfds)
        },
        Session.GetResampleNotifier.name: VarlinkMethod(taking: { (_: NoParameters) in 0 }) {
            [weak server] (_, _) async throws(VarlinkError) in
            let eventfd = try await server.interrupts { (device) throws(InterruptError) in
                guard let notifier = try device.makeGroup(.legacy).resampleNotifier() else {
                    throw .notLevelTriggered
                }
                return try shared(notifier)
            }
            return (NoParameters(), [eventfd])
        },
        Session.Enable.name: VarlinkMethod {
            [weak server] (asked: Session.Enable.Parameters, _) async throws(VarlinkError) in
            let type = try interruptType(asked.type)
            try await server.interrupts { (device) throws(InterruptError) in
                let count = try device.makeGroup(type, count: asked.vectors).count
                try device.switchTo(type, [InterruptConfiguration](repeating: InterruptConfiguration(), count: count))
            }
            return NoParameters()
        },
        Session.Disable.name: VarlinkMethod {
            [weak server] (asked: Session.Disable.Parameters, _) async throws(VarlinkError) in
            let type = try interruptType(asked.type)
            try await server.interrupts { (device) throws(InterruptError) in
                if device.workingType == type { try device.switchTo(nil) }
            }
            return NoParameters()
        },
        Session.Mask.name: vectorMethod(server) { (group, index) throws(InterruptError) in try group.mask(index) },
        Session.Unmask.name: vectorMethod(server) { (group, index) throws(InterruptError) in try group.unmask(index) },
        Session.Trigger.name: vectorMethod(server) { (group, index) throws(InterruptError) in try group.trigger(index)
        },
    ]
}

private func vectorMethod(
    _ server: LeaseServer,
    _ body: @escaping @Sendable (InterruptSourceGroup, Int) throws(InterruptError) -> Void
) -> VarlinkMethod {
    VarlinkMethod { [weak server] (asked: Session.VectorParameters, _) async throws(VarlinkError) in
        let type = try interruptType(asked.type)
        try await server.interrupts { (device) throws(InterruptError) in
            guard let group = device.group(type) else { throw .notEnabled }
            try body(group, asked.vector)
        }
        return NoParameters()
    }
}

private func interruptType(_ name: String) throws(VarlinkError) -> InterruptType {
    guard let type = InterruptType(rawValue: name) else { throw .invalidParameter("type") }
    return type
}

private func eventFDs(_ call: VarlinkCall) throws(InterruptError) -> [EventFD] {
    do throws(KernelError) {
        guard let descriptors = call.descriptors else { return [] }
        return try descriptors.rawValues.indices.map { (index) throws(KernelError) in try descriptors.eventFD(at: index)
        }
    } catch {
        throw .kernel(error)
    }
}

private func shared(_ eventfd: EventFD) throws(InterruptError) -> SharedDescriptor {
    do throws(KernelError) { return SharedDescriptor(try eventfd.duplicate()) } catch { throw .kernel(error) }
}

extension Session.NotifierParameters {
    /// The vectors that it is about: no more than descriptors go with a message.
    fileprivate func range() throws(VarlinkError) -> Range<Int> {
        guard (0..<InterruptType.msix.maximumCount).contains(first) else { throw .invalidParameter("first") }
        guard (1...UnixSocket.maximumDescriptors).contains(count) else { throw .invalidParameter("count") }
        return first..<first + count
    }
}
