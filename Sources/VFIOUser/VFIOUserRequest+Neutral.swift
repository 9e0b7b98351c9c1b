// How what is refused is answered, in one place.
//
// A refusal is a header that says so, and nothing else. The rust-vmm crate (Cloud Hypervisor) never looks at that: where an
// answer has a payload it waits for it, for ever. It speaks of minor version 1, and QEMU of 0; so what is refused to a
// client of minor 1 has, where it was sound in itself, an answer as long as it waits for, that says nothing:
//
// | request | what it is answered |
// |---|---|
// | DEVICE_GET_INFO, GET_REGION_INFO, GET_IRQ_INFO | that there is none |
// | REGION_READ | all ones, as from a bus on which nobody answers |
// | REGION_WRITE, DMA_UNMAP | as if it were done |
//
// Everything else has no payload either way, and what is not sound leaves open how long that would be. The indexes of errors
// and requests of the device are refused to all: clients ask for them to find out whether there are any (QEMU).
extension VFIOUserRequest {
    private static let interruptTypes: UInt32 = 3

    /// The payload of an answer that says nothing; nil where the error has to do.
    var neutralPayload: [UInt8]? {
        var writer = PayloadWriter()
        switch self {
        case .info:
            writer.add(VFIOUserRequest.infoSize)
            for _ in 0..<3 { writer.add(UInt32(0)) }
        case .regionInfo(let index, _):
            for number in [VFIOUserRequest.regionInfoSize, 0, index, 0] { writer.add(number) }
            for _ in 0..<2 { writer.add(UInt64(0)) }
        case .irqInfo(let index) where index < VFIOUserRequest.interruptTypes:
            for number in [VFIOUserRequest.infoSize, 0, index, 0] { writer.add(number) }
        case .read(let access, let count):
            writer.add(access.place(count))
            writer.add([UInt8](repeating: 0xff, count: count))
        case .write(let access, let bytes): writer.add(access.place(bytes.count))
        case .unmap(_, let echo): writer.add(echo)
        case .version, .map, .irqInfo, .setIRQs, .writeMulti, .reset: return nil
        }
        return writer.bytes
    }
}
