import LinuxSystem
import SystemPackage
import TestSupport
import Testing

@Suite("The uevent socket") struct UeventSocketTests {
    @Test("Only the kernel speaking to all is the kernel") func sender() {
        func isKernel(_ port: UInt32, _ groups: UInt32, _ process: Int32?) -> Bool {
            UeventDatagram.Sender(port: port, groups: groups, processID: process).isKernel
        }
        #expect(isKernel(0, 1, 0))
        #expect(!isKernel(4711, 1, 0))
        #expect(!isKernel(0, 2, 0))
        #expect(!isKernel(0, 3, 0))
        #expect(!isKernel(0, 0, 0))
        #expect(!isKernel(0, 1, 4711))
        #expect(!isKernel(0, 1, nil))
    }

    @Test("A message that a process sends, where the kernel lets it, is not taken for the kernel's") func forged()
        throws
    {
        let socket = try UeventSocket()
        let message = Array("add@/x\0ACTION=add\0".utf8)
        do throws(KernelError) {
            try sendToUeventSocket(message, descriptor: socket.descriptor)
        } catch {
            #expect(error.errno == .notPermitted)
            return
        }
        var received: [UeventDatagram] = []
        while let datagram = try socket.receive() { received.append(datagram) }
        let forged = try #require(received.first { $0.bytes == message })
        #expect(forged.sender.port != 0)
        #expect(forged.sender.processID == ownProcessID)
        #expect(!forged.sender.isKernel && !forged.isTruncated)
    }

    @Test("Whatever comes is from the kernel, and nothing waiting is no error") func quiet() throws {
        let socket = try UeventSocket()
        while let datagram = try socket.receive() { #expect(datagram.sender.isKernel) }
    }
}
