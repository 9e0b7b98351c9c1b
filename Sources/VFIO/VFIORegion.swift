internal import CLinux
public import LinuxSystem
internal import SystemPackage

/// The regions of a PCI function (linux/vfio.h, VFIO_PCI_*_REGION_INDEX).
public enum VFIORegionIndex: UInt32, Sendable, CaseIterable {
    /// Base address registers.
    case bar0, bar1, bar2, bar3, bar4, bar5
    /// The expansion ROM.
    case rom
    /// Configuration space.
    case configuration
}

/// A region of a device: a BAR, the ROM or configuration space, read and written through the kernel and never mapped.
///
/// PCI is little-endian; values are in the host's order. Every access lies inside the region and is aligned to its own
/// size, or it throws EINVAL and reaches nothing.
public struct VFIORegion: Sendable {
    /// Which region.
    public let index: VFIORegionIndex
    /// Its size in bytes; 0 if the device does not have it.
    public let size: UInt64
    /// Whether it can be read.
    public let isReadable: Bool
    /// Whether it can be written.
    public let isWritable: Bool
    /// Whether the kernel would map it.
    public let isMappable: Bool
    /// Where it begins in the device's file, for whoever has a descriptor of it.
    public let offset: UInt64
    let device: VFIODevice

    /// Reads 1, 2, 4 or 8 bytes in one access.
    public func load<Value: FixedWidthInteger & BitwiseCopyable>(
        _ type: Value.Type = Value.self, at position: UInt64
    ) throws(KernelError) -> Value {
        let start = try check(position, width: MemoryLayout<Value>.size, call: "pread")
        var value = Value.zero
        var result: Result<Int, KernelError> = .success(0)
        // SAFETY: the bytes are the value's own, alive and exclusive for the call.
        unsafe withUnsafeMutableBytes(of: &value) { bytes in
            do throws(KernelError) {
                result = .success(try unsafe device.kernel.read(device.raw, at: start, into: bytes))
            } catch {
                result = .failure(error)
            }
        }
        try finish(result, width: MemoryLayout<Value>.size, call: "pread", position)
        return Value(littleEndian: value)
    }

    /// Writes 1, 2, 4 or 8 bytes in one access.
    public func store<Value: FixedWidthInteger & BitwiseCopyable>(
        _ value: Value, at position: UInt64
    ) throws(KernelError) {
        let start = try check(position, width: MemoryLayout<Value>.size, call: "pwrite")
        var result: Result<Int, KernelError> = .success(0)
        // SAFETY: the bytes are the value's own, alive for the call.
        unsafe withUnsafeBytes(of: value.littleEndian) { bytes in
            do throws(KernelError) {
                result = .success(try unsafe device.kernel.write(device.raw, at: start, from: bytes))
            } catch {
                result = .failure(error)
            }
        }
        try finish(result, width: MemoryLayout<Value>.size, call: "pwrite", position)
    }

    /// Reads bytes as they stand, in as few accesses as the kernel makes of them: a guest's own accesses keep their width
    /// where they are aligned.
    public func read(at position: UInt64, count: Int) throws(KernelError) -> [UInt8] {
        let start = try checkBytes(position, count, call: "pread")
        var bytes = [UInt8](repeating: 0, count: count)
        var done = 0
        while done < count {
            let (from, at) = (done, start + UInt64(done))
            var result: Result<Int, KernelError> = .success(0)
            // SAFETY: the bytes are the array's own, alive and exclusive for the call.
            unsafe bytes.withUnsafeMutableBytes { buffer in
                let rest = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[from...])
                do throws(KernelError) {
                    result = .success(try unsafe device.kernel.read(device.raw, at: at, into: rest))
                } catch {
                    result = .failure(error)
                }
            }
            done += try advance(result, "pread", position, by: count - done)
        }
        return bytes
    }

    /// Writes bytes as ``read(at:count:)`` reads them.
    public func write(_ bytes: [UInt8], at position: UInt64) throws(KernelError) {
        let start = try checkBytes(position, bytes.count, call: "pwrite")
        var done = 0
        while done < bytes.count {
            let (from, at) = (done, start + UInt64(done))
            var result: Result<Int, KernelError> = .success(0)
            // SAFETY: the bytes are the array's own, alive for the call.
            unsafe bytes.withUnsafeBytes { buffer in
                let rest = unsafe UnsafeRawBufferPointer(rebasing: buffer[from...])
                do throws(KernelError) {
                    result = .success(try unsafe device.kernel.write(device.raw, at: at, from: rest))
                } catch {
                    result = .failure(error)
                }
            }
            done += try advance(result, "pwrite", position, by: bytes.count - done)
        }
    }

    private func checkBytes(_ position: UInt64, _ count: Int, call: String) throws(KernelError) -> UInt64 {
        let (end, overflows) = position.addingReportingOverflow(UInt64(clamping: count))
        let (start, wraps) = offset.addingReportingOverflow(position)
        guard count > 0, !overflows, end <= size, !wraps else {
            throw KernelError(call, on: "\(subject(position)): outside \(size) bytes", .invalidArgument)
        }
        return start
    }

    /// How far one call came, which is not nowhere.
    private func advance(
        _ result: Result<Int, KernelError>, _ call: String, _ position: UInt64, by most: Int
    ) throws(KernelError) -> Int {
        let count = try naming(subject(position)) { () throws(KernelError) in try result.get() }
        guard (1...most).contains(count) else {
            throw KernelError(call, on: "\(subject(position)): cut short", .ioError)
        }
        return count
    }

    private func check(_ position: UInt64, width: Int, call: String) throws(KernelError) -> UInt64 {
        let width = UInt64(width)
        let (start, overflows) = offset.addingReportingOverflow(position)
        guard [1, 2, 4, 8].contains(width), width <= size, position <= size - width, position % width == 0, !overflows
        else {
            throw KernelError(call, on: "\(subject(position)): outside \(size) bytes or unaligned", .invalidArgument)
        }
        return start
    }

    private func finish(
        _ result: Result<Int, KernelError>, width: Int, call: String, _ position: UInt64
    ) throws(KernelError) {
        let count = try naming(subject(position)) { () throws(KernelError) in try result.get() }
        guard count == width else { throw KernelError(call, on: "\(subject(position)): cut short", .ioError) }
    }

    private func subject(_ position: UInt64) -> String {
        "\(device.address) \(index)+0x\(String(position, radix: 16))"
    }
}

extension VFIODevice {
    /// A region of the device (VFIO_DEVICE_GET_REGION_INFO).
    public func region(_ index: VFIORegionIndex) throws(KernelError) -> VFIORegion {
        var info = vfio_region_info()
        info.argsz = UInt32(MemoryLayout<vfio_region_info>.size)
        info.index = index.rawValue
        try naming("\(address) \(index)") { () throws(KernelError) in
            _ = try kernel.ioctl(raw, CLINUX_VFIO_DEVICE_GET_REGION_INFO, "VFIO_DEVICE_GET_REGION_INFO", &info)
        }
        return VFIORegion(
            index: index, size: info.size, isReadable: info.flags & UInt32(VFIO_REGION_INFO_FLAG_READ) != 0,
            isWritable: info.flags & UInt32(VFIO_REGION_INFO_FLAG_WRITE) != 0,
            isMappable: info.flags & UInt32(VFIO_REGION_INFO_FLAG_MMAP) != 0, offset: info.offset, device: self)
    }

    /// Lets the device be a bus master or not (PCI 3.0 section 6.2.2, Command bit 2). Off after open; DMA needs it, and
    /// so do MSI and MSI-X, which are memory writes of the device. VFIO's loopback does not.
    public func setBusMaster(_ on: Bool) throws(KernelError) {
        let configuration = try region(.configuration)
        let command = try configuration.load(UInt16.self, at: UInt64(PCI_COMMAND))
        let wanted = on ? command | UInt16(PCI_COMMAND_MASTER) : command & ~UInt16(PCI_COMMAND_MASTER)
        if wanted != command { try configuration.store(wanted, at: UInt64(PCI_COMMAND)) }
    }

    /// Keeps the device from asserting its INTx line (PCI 3.0 section 6.2.2, Command bit 10).
    public func disableINTx() throws(KernelError) {
        let configuration = try region(.configuration)
        let command = try configuration.load(UInt16.self, at: UInt64(PCI_COMMAND))
        try configuration.store(command | UInt16(PCI_COMMAND_INTX_DISABLE), at: UInt64(PCI_COMMAND))
    }

    /// Whether the device asserts its INTx line (PCI 3.0 section 6.2.3, Status bit 3: Interrupt Status), which it does
    /// not while Command disables that (section 6.2.2, bit 10). VFIO shows that bit as the guest wrote it.
    public func isInterruptAsserted() throws(KernelError) -> Bool {
        let registers = try region(.configuration).load(UInt32.self, at: UInt64(PCI_COMMAND))
        let isDisabled = registers & UInt32(PCI_COMMAND_INTX_DISABLE) != 0
        return !isDisabled && registers >> 16 & UInt32(PCI_STATUS_INTERRUPT) != 0
    }
}
