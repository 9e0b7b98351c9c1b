import SystemPackage
import Testing
import VFIOUser

@Suite("What a vfio-user server refuses") struct RefusalTests {
    private let device = RecordingDevice()

    @Test("Who does not look at errors is answered as much as he waits for, and who does, the error") func neutral()
        async throws
    {
        let place = Client.bytes(UInt64(254), UInt32(7), UInt32(4))
        let unmap = Client.bytes(UInt32(24), UInt32(0), UInt64(4096), UInt64(4096))
        func region(_ index: UInt32) -> [UInt8] {
            Client.bytes(UInt32(32), UInt32(0), index, UInt32(0), UInt64(0), UInt64(0))
        }
        func irq(_ index: UInt32) -> [UInt8] { Client.bytes(UInt32(16), UInt32(0), index, UInt32(0)) }
        let readOnly = Client.bytes(UInt64(0), UInt32(6), UInt32(2))
        let cases: [(VFIOUserCommand, [UInt8], Errno, neutral: [UInt8]?)] = [
            (.regionRead, place, .invalidArgument, place + [0xff, 0xff, 0xff, 0xff]),
            (.regionWrite, place + [1, 2, 3, 4], .invalidArgument, place),
            (.regionWrite, readOnly + [1, 2], .invalidArgument, readOnly),
            (.deviceGetRegionInfo, region(9), .invalidArgument, region(9)),
            (.dmaUnmap, unmap, .ioError, unmap), (.deviceGetIRQInfo, irq(3), .invalidArgument, nil),
            (.deviceReset, [], .ioError, nil),
            (.dmaMap, Client.bytes(UInt32(32), UInt32(3), UInt64(0), UInt64(0), UInt64(4096)), .ioError, nil),
            (.regionRead, Client.bytes(UInt64(0), UInt32(7), UInt32.max), .invalidArgument, nil),
        ]
        device.fail(.ioError)
        for minor: UInt16 in [0, 1] {
            var session = VFIOUserSession(device)
            _ = await session.answer(Client.message(.version, Client.version(minor: minor)))
            for (command, request, refusal, neutral) in cases {
                let answer = await session.answer(Client.message(command, request))
                if minor == 1, let neutral {
                    #expect(try payload(of: answer) == neutral, "\(command)")
                } else {
                    #expect(try error(of: answer) == refusal, "\(command)")
                }
            }
        }
        // A device that cannot even be described.
        var mute = VFIOUserSession(RecordingDevice(nil))
        _ = await mute.answer(Client.message(.version, Client.version(minor: 1)))
        let info = Client.bytes(UInt32(16), UInt32(0), UInt32(0), UInt32(0))
        #expect(try payload(of: await mute.answer(Client.message(.deviceGetInfo, info))) == info)
        #expect(try payload(of: await mute.answer(Client.message(.deviceGetIRQInfo, irq(2)))) == irq(2))
        #expect(try error(of: await mute.answer(Client.message(.deviceGetIRQInfo, irq(3)))) == .ioError)
    }
}
