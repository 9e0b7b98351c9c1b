import LinuxSystem
import Testing

@Suite("Event loop")
struct EventLoopTests {
    private actor OnLoop {
        let loop: EventLoop
        private(set) var count = 0
        nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

        init(_ loop: EventLoop) { self.loop = loop }

        func add() -> Bool {
            count += 1
            return loop.isCurrent
        }

        /// Suspends in the middle, so that calls interleave.
        func addLater() async -> Bool {
            await Task.yield()
            return add()
        }
    }

    @Test("an actor with the loop as its executor runs on the loop's thread, also after suspension")
    func actorRunsOnLoop() async throws {
        let loop = try EventLoop(name: "test")
        defer { loop.stop() }
        let actor = OnLoop(loop)
        #expect(!loop.isCurrent)
        let onLoop = await withTaskGroup(of: Bool.self) { group in
            for _ in 0..<200 { group.addTask { await actor.addLater() } }
            return await group.reduce(true) { $0 && $1 }
        }
        #expect(onLoop)
        #expect(await actor.count == 200)
    }

    @Test("work runs in the order in which it was handed in")
    func submitKeepsOrder() async throws {
        let loop = try EventLoop(name: "test")
        defer { loop.stop() }
        let seen = Lock<[Int]>([])
        await withCheckedContinuation { done in
            for index in 0..<1000 {
                loop.submit {
                    seen.withLock { $0.append(index) }
                    if index == 999 { done.resume() }
                }
            }
        }
        #expect(seen.withLock { $0 } == Array(0..<1000))
    }

    @Test("a readable descriptor calls its handler on the loop's thread")
    func readiness() async throws {
        let loop = try EventLoop(name: "test")
        defer { loop.stop() }
        let event = try EventFD()
        let (seen, found) = AsyncStream.makeStream(of: (Readiness, Bool).self)
        let registration = try loop.watch(event.rawValue, for: .readable) { readiness in
            event.drain()
            found.yield((readiness, loop.isCurrent))
        }
        var each = seen.makeAsyncIterator()
        for _ in 0..<3 {
            try event.signal()
            let news = try #require(await each.next())
            #expect(news.0 == .readable && news.1)
        }
        loop.unwatch(registration)
    }

    @Test("no handler is called after its descriptor was unwatched, even for an event already fetched")
    func staleEventsAreDropped() async throws {
        let loop = try EventLoop(name: "test")
        defer { loop.stop() }
        let events = [try EventFD(), try EventFD()]
        let calls = Lock(0)
        let registrations = Lock<[EventLoop.Registration]>([])
        // Both become readable while the loop is held up, so that one wait brings both events. Whichever handler runs
        // first unwatches both.
        await withCheckedContinuation { done in
            loop.submit {
                for event in events {
                    let registration = try? loop.watch(event.rawValue, for: .readable) { _ in
                        calls.withLock { $0 += 1 }
                        for registration in registrations.withLock({ $0 }) { loop.unwatch(registration) }
                    }
                    if let registration { registrations.withLock { $0.append(registration) } }
                }
                for event in events { try? event.signal() }
                loop.submit { loop.submit { loop.submit { done.resume() } } }
            }
        }
        #expect(calls.withLock { $0 } == 1)
    }

    @Test("a new owner of a closed descriptor's number gets its own events only")
    func descriptorReuse() async throws {
        let loop = try EventLoop(name: "test")
        defer { loop.stop() }
        var first: EventFD? = try EventFD()
        let number = try #require(first?.rawValue)
        let old = try loop.watch(number, for: .readable) { _ in Issue.record("the old handler was called") }
        loop.unwatch(old)
        first = nil
        let second = try EventFD()
        let (seen, found) = AsyncStream.makeStream(of: Void.self)
        let new = try loop.watch(second.rawValue, for: .readable) { _ in
            second.drain()
            found.yield()
        }
        // Gone already: neither traps nor touches the new registration, even where the number is the same.
        loop.unwatch(old)
        try loop.update(old, for: [])
        try second.signal()
        var each = seen.makeAsyncIterator()
        await each.next()
        loop.unwatch(new)
    }

    @Test("watching a descriptor twice is an error with its errno")
    func watchTwice() throws {
        let loop = try EventLoop(name: "test")
        defer { loop.stop() }
        let event = try EventFD()
        let registration = try loop.watch(event.rawValue, for: .readable) { _ in }
        let error = #expect(throws: KernelError.self) {
            _ = try loop.watch(event.rawValue, for: .readable) { _ in }
        }
        #expect(error?.errno.name == "EEXIST")
        loop.unwatch(registration)
    }

    @Test("an empty interest silences a descriptor until it is asked for again")
    func updateInterest() async throws {
        let loop = try EventLoop(name: "test")
        defer { loop.stop() }
        let event = try EventFD()
        let calls = Lock(0)
        let (seen, found) = AsyncStream.makeStream(of: Void.self)
        let registration = try loop.watch(event.rawValue, for: []) { _ in
            event.drain()
            calls.withLock { $0 += 1 }
            found.yield()
        }
        try event.signal()
        await withCheckedContinuation { done in loop.submit { loop.submit { done.resume() } } }
        #expect(calls.withLock { $0 } == 0)
        try loop.update(registration, for: .readable)
        var each = seen.makeAsyncIterator()
        await each.next()
        #expect(calls.withLock { $0 } == 1)
        loop.unwatch(registration)
    }

    @Test("work handed in after the loop was stopped still runs")
    func workAfterStop() async throws {
        let loop = try EventLoop(name: "test")
        let actor = OnLoop(loop)
        #expect(await actor.add())
        loop.stop()
        for _ in 0..<20 { #expect(await actor.addLater()) }
        #expect(await actor.count == 21)
    }
}
