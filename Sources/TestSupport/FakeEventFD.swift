internal import CLinux
internal import Glibc
public import LinuxSystem
internal import SystemPackage

/// An eventfd as the fake kernel holds it once a call named it: the counter itself, not the descriptor, whose closing
/// changes nothing (eventfd_ctx_fdget). The counter is real; who waits for it is called at once, as in the kernel's
/// wait queue, but only for what the fake kernel itself signals. What a process writes is seen by those who look.
final class FakeEventFD: Sendable {
    private static let waiting = Lock<[Int: [ObjectIdentifier: @Sendable () -> Void]]>([:])

    /// The same for all descriptors of one eventfd, and for no other that is open.
    let id: Int
    private let eventfd: EventFD

    /// What a descriptor in a structure leads to: EBADF if it is closed, EINVAL if it is no eventfd.
    init(behind descriptor: CInt) throws(KernelError) {
        let duplicate = clinux_fcntl_int(descriptor, F_DUPFD_CLOEXEC, 0)
        guard duplicate >= 0 else { throw KernelError("fget", Errno(rawValue: errno)) }
        eventfd = try EventFD(adopting: OwnedDescriptor(adopting: duplicate))
        guard let id = FakeEventFD.information(of: eventfd.rawValue)?.id else {
            throw KernelError("fget", .invalidArgument)
        }
        self.id = id
    }

    /// Its count, without taking it.
    var count: UInt64 { FakeEventFD.information(of: eventfd.rawValue)?.count ?? 0 }

    /// Takes its count.
    @discardableResult
    func drain() -> UInt64 { eventfd.drain() }

    /// Adds 1, and calls those who wait before it returns.
    func signal() {
        try? eventfd.signal()
        let called = FakeEventFD.waiting.withLock { Array(($0[id] ?? [:]).values) }
        for body in called { body() }
    }

    /// Lets `body` be called at every ``signal()``, in place of what `owner` had called.
    func wait(_ owner: AnyObject, _ body: @escaping @Sendable () -> Void) {
        let key = ObjectIdentifier(owner)
        FakeEventFD.waiting.withLock { $0[id, default: [:]][key] = body }
    }

    /// Ends that. A call that is under way may still come.
    func stopWaiting(_ owner: AnyObject) {
        let key = ObjectIdentifier(owner)
        FakeEventFD.waiting.withLock { waiting in
            waiting[id]?[key] = nil
            if waiting[id]?.isEmpty == true { waiting[id] = nil }
        }
    }

    /// What procfs tells of an eventfd without touching it (fs/eventfd.c, eventfd_show_fdinfo).
    ///
    /// Read byte by byte: it is asked at every fake kernel call, and the library's searches and conversions are slow and
    /// take turns over the whole process where they are not specialized.
    fileprivate static func information(of descriptor: CInt) -> (id: Int, count: UInt64)? {
        guard let text = try? readFile("/proc/self/fdinfo/\(descriptor)", limit: 4096),
            let count = number(after: countKey, in: text, radix: 16),
            let id = number(after: idKey, in: text, radix: 10)
        else { return nil }
        return (Int(truncatingIfNeeded: id), count)
    }

    private static let countKey = Array("\neventfd-count:".utf8)
    private static let idKey = Array("\neventfd-id:".utf8)

    /// The number behind `key` and spaces.
    private static func number(after key: [UInt8], in text: [UInt8], radix: UInt64) -> UInt64? {
        var matched = 0
        var value: UInt64?
        for byte in text {
            if matched < key.count {
                matched = byte == key[matched] ? matched + 1 : byte == key[0] ? 1 : 0
                continue
            }
            let digit: UInt64
            switch byte {
            case UInt8(ascii: " ") where value == nil: continue
            case UInt8(ascii: "0")...UInt8(ascii: "9"): digit = UInt64(byte - UInt8(ascii: "0"))
            case UInt8(ascii: "a")...UInt8(ascii: "f"): digit = UInt64(byte - UInt8(ascii: "a") + 10)
            default: return value
            }
            value = (value ?? 0) &* radix &+ digit
        }
        return value
    }
}

/// The number that tells an eventfd from all others that are open, as procfs has it.
public func eventFDNumber(_ eventfd: EventFD) -> Int? { FakeEventFD.information(of: eventfd.rawValue)?.id }
