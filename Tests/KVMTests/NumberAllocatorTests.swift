import Testing

@testable import KVMInterrupts

@Suite("Interrupt numbers")
struct NumberAllocatorTests {
    @Test("blocks are consecutive, lowest first, and never overlap")
    func blocks() {
        var allocator = NumberAllocator(24..<34, except: [])
        #expect(allocator.take(4) == 24..<28)
        #expect(allocator.take(6) == 28..<34)
        #expect(allocator.take(1) == nil)
        #expect(allocator.largest == 0)
    }

    @Test("numbers in use by others are left out")
    func taken() {
        var allocator = NumberAllocator(24..<34, except: [24, 28, 99])
        #expect(allocator.largest == 5)
        #expect(allocator.take(4) == 29..<33)
        #expect(allocator.take(3) == 25..<28)
        #expect(allocator.take(1) == 33..<34)
        #expect(allocator.take(1) == nil)
    }

    @Test(
        "what is given back grows together again, in any order",
        arguments: [[0, 1, 2], [2, 1, 0], [0, 2, 1], [1, 0, 2]])
    func giveBack(order: [Int]) {
        var allocator = NumberAllocator(24..<36, except: [])
        var blocks: [Range<Int>] = []
        while let block = allocator.take(4) { blocks.append(block) }
        for index in order { allocator.give(blocks[index]) }
        #expect(allocator.largest == 12)
        #expect(allocator.take(12) == 24..<36)
    }

    @Test("a count of 0 or below is never given", arguments: [0, -1, .min])
    func nothing(count: Int) {
        var allocator = NumberAllocator(24..<34, except: [])
        #expect(allocator.take(count) == nil)
        allocator.give(30..<30)
        #expect(allocator.largest == 10)
    }
}
