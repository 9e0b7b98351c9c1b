import LinuxSystem
import SystemPackage
import TestSupport
import Testing

@Suite("A listening socket on an event loop") struct WatchedListenerTests {
    /// Returns when the loop has done what was handed in so far and looked at its descriptors since.
    private func turn(_ loop: EventLoop) async {
        for _ in 0..<3 { await withCheckedContinuation { done in loop.submit { done.resume() } } }
    }

    @Test("What cannot be accepted is left alone for a while, and then tried again") func pauses() async throws {
        let directory = try TemporaryDirectory()
        let loop = try EventLoop(name: "test")
        defer { loop.stop() }
        let clock = ManualClock()
        let accepted = Lock(0)
        let refused = Lock<[Errno]>([])
        let isShort = Lock(true)
        let path = directory.file("socket")
        let listener = try WatchedListener(
            try UnixListener(path: path), on: loop, pause: .seconds(1), clock: clock,
            report: { error in refused.withLock { $0.append(error.errno) } }
        ) { (listener) throws(KernelError) in
            if isShort.withLock({ $0 }) { throw KernelError("accept4", .tooManyOpenFiles) }
            if try listener.accept() != nil { accepted.withLock { $0 += 1 } }
        }
        let first = try UnixSocket(connectingTo: path)
        let second = try UnixSocket(connectingTo: path)
        while refused.withLock({ $0.isEmpty }) { await Task.yield() }
        await turn(loop)
        // Both wait, and it is not asked again and again.
        #expect(refused.withLock { $0 } == [.tooManyOpenFiles] && accepted.withLock { $0 } == 0)
        clock.advance(by: .seconds(1))
        while refused.withLock({ $0.count }) < 2 {
            clock.advance(by: .seconds(1))
            await Task.yield()
        }
        isShort.withLock { $0 = false }
        while accepted.withLock({ $0 }) < 2 {
            clock.advance(by: .seconds(1))
            await Task.yield()
        }
        listener.stop()
        let third = try UnixSocket(connectingTo: path)
        await turn(loop)
        #expect(accepted.withLock { $0 } == 2)
        withExtendedLifetime(listener) {}
        #expect(first.descriptor.rawValue != second.descriptor.rawValue && third.descriptor.rawValue >= 0)
    }

    @Test("One that is stopped while it waits takes nothing any more") func stopped() async throws {
        let directory = try TemporaryDirectory()
        let loop = try EventLoop(name: "test")
        defer { loop.stop() }
        let clock = ManualClock()
        let asked = Lock(0)
        let path = directory.file("socket")
        let listener = try WatchedListener(
            try UnixListener(path: path), on: loop, clock: clock, report: { _ in }
        ) { (_) throws(KernelError) in
            asked.withLock { $0 += 1 }
            throw KernelError("accept4", .noMemory)
        }
        let client = try UnixSocket(connectingTo: path)
        while asked.withLock({ $0 }) == 0 { await Task.yield() }
        listener.stop()
        for _ in 0..<10 {
            clock.advance(by: .seconds(1))
            await turn(loop)
        }
        #expect(asked.withLock { $0 } == 1 && client.descriptor.rawValue >= 0)
    }
}
