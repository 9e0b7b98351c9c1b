import LinuxSystem
import SystemPackage
import VFIO

/// A VFIO device's registers, accessed through the kernel: its BARs are never mapped here.
struct VFIORegisters: DeviceRegisters {
    private let device: VFIODevice
    private let bars: [VFIORegion]

    /// Looks up the six BARs.
    init(_ device: VFIODevice) throws(KernelError) {
        self.device = device
        var bars: [VFIORegion] = []
        for index in [VFIORegionIndex.bar0, .bar1, .bar2, .bar3, .bar4, .bar5] {
            bars.append(try device.region(index))
        }
        self.bars = bars
    }

    func read32(bar: Int, at offset: UInt64) throws(KernelError) -> UInt32 { try region(bar).load(at: offset) }

    func write32(_ value: UInt32, bar: Int, at offset: UInt64) throws(KernelError) {
        try region(bar).store(value, at: offset)
    }

    func enableBusMaster() throws(KernelError) { try device.setBusMaster(true) }

    private func region(_ bar: Int) throws(KernelError) -> VFIORegion {
        guard bars.indices.contains(bar) else {
            throw KernelError("VFIO_DEVICE_GET_REGION_INFO", on: "\(device.address) BAR \(bar)", .invalidArgument)
        }
        return bars[bar]
    }
}
