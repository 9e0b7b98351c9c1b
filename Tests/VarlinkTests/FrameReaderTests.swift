import TestSupport
import Testing
import Varlink

@Suite("Frame reader")
struct FrameReaderTests {
    private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

    /// What a reader makes of the pieces and the end of the stream.
    private func read(_ pieces: [[UInt8]], limit: Int = 1 << 20, depthLimit: Int = 64) -> [FrameReader.Frame] {
        var reader = FrameReader(limit: limit, depthLimit: depthLimit)
        var frames = pieces.flatMap { reader.feed($0) }
        if let last = reader.finish() { frames.append(last) }
        return frames
    }

    private func messages(_ frames: [FrameReader.Frame]) -> [String] {
        frames.map {
            switch $0 {
            case .message(let bytes): String(decoding: bytes, as: UTF8.self)
            case .violation(let violation): "violation: \(violation)"
            }
        }
    }

    @Test(
        "a stream is cut into the same messages wherever its reads are cut",
        arguments: [
            "{\"a\":1}\0{\"b\":\"}\\\"{\"}\0", "{\"a\":1}\n{\"b\":[\n{}\n]}\n", "\0\0{\"a\":1}\0\n \0",
            "{\"a\":\"x\\ny\"}\0", "\n\n{\"a\":1}\n\n", "{\"a\":1}\n\0{\"b\":2}\n\0", "{\"a\":1}", "hello\nworld\n",
            "{\"a\":", "}}]]\n{}\n", "{\"a\":1}\0{\"b\"",
        ])
    func everySplit(stream: String) {
        let all = bytes(stream)
        let whole = read([all])
        #expect(read(all.map { [$0] }) == whole)
        for cut in 0...all.count {
            #expect(read([Array(all[..<cut]), Array(all[cut...])]) == whole, "cut at \(cut)")
        }
    }

    @Test("NUL ends messages, and a newline before it belongs to the message")
    func nulFraming() {
        var reader = FrameReader()
        #expect(
            messages(reader.feed(bytes("{\"a\":1}\n\0{\"b\":2}\n{\"c\"\0"))) == ["{\"a\":1}", "{\"b\":2}\n{\"c\""])
        #expect(reader.framing == .nul)
        #expect(reader.endMark == 0)
    }

    @Test("a newline at depth 0 outside a string makes the connection speak lines")
    func lineFraming() {
        var reader = FrameReader()
        #expect(messages(reader.feed(bytes("{\"a\":\n\"\n\"}\n"))) == ["{\"a\":\n\"\n\"}"])
        #expect(reader.framing == .lines)
        #expect(reader.endMark == 0x0a)
        #expect(messages(reader.feed(bytes("{}\n{}\n"))) == ["{}", "{}"])
    }

    @Test("empty messages are left out and decide nothing but NUL")
    func emptyMessages() {
        var reader = FrameReader()
        #expect(reader.feed(bytes("\n \r\n\t")).isEmpty)
        #expect(reader.framing == .undecided)
        #expect(reader.feed(bytes("\0\0")).isEmpty)
        #expect(reader.framing == .nul)
        #expect(reader.finish() == nil)
    }

    @Test("an object at the end of the stream needs no end mark for people, but does for programs")
    func endOfStream() {
        #expect(messages(read([bytes("{\"a\":1}")])) == ["{\"a\":1}"])
        #expect(read([bytes("{}\0{}")]) == [.message(bytes("{}")), .violation(.unfinished)])
        #expect(read([bytes("{\"a\":{}")]) == [.violation(.unfinished)])
        #expect(read([bytes("{\"a\":\"}")]) == [.violation(.unfinished)])
    }

    @Test("a message may be as long as the limit, and one byte more is one violation and the last frame")
    func lengthLimit() {
        let fits = bytes("{\"a\":\"" + String(repeating: "x", count: 92) + "\"}")
        #expect(read([fits + [0]], limit: 100) == [.message(fits)])
        let long = bytes("{\"a\":\"" + String(repeating: "x", count: 93) + "\"}")
        #expect(read([long + [0] + fits + [0]], limit: 100) == [.violation(.tooLong(limit: 100))])
        var reader = FrameReader(limit: 100)
        _ = reader.feed(Array(long.dropLast()))
        #expect(!reader.isBetweenMessages)
        _ = reader.feed(Array(long.suffix(1)) + [0])
        #expect(reader.isBetweenMessages)
    }

    @Test("nesting is bounded before anything recursive sees it")
    func depthLimit() {
        let deep = [UInt8](repeating: UInt8(ascii: "["), count: 100_000)
        #expect(read([deep]) == [.violation(.tooDeep(limit: 64))])
        let fits = bytes(String(repeating: "[", count: 64) + String(repeating: "]", count: 64))
        #expect(read([fits + [0]]) == [.message(fits)])
        #expect(read([bytes("{\"a\":\"" + String(repeating: "{", count: 1000) + "\"}\0")]).count == 1)
    }

    @Test("random bytes never yield a frame after a violation, nor a message over the limit", arguments: 0..<40)
    func randomBytes(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        let alphabet = bytes("{}[]\"\\:,\n\0 a1") + [0xff, 0x80]
        var reader = FrameReader(limit: 40, depthLimit: 5)
        var frames: [FrameReader.Frame] = []
        for _ in 0..<200 {
            let count = Int(random.next() % 20)
            frames += reader.feed((0..<count).map { _ in alphabet[Int(random.next() % UInt64(alphabet.count))] })
        }
        for (index, frame) in frames.enumerated() {
            switch frame {
            case .message(let message): #expect(!message.isEmpty && message.count <= 40)
            case .violation: #expect(index == frames.count - 1)
            }
        }
    }
}
