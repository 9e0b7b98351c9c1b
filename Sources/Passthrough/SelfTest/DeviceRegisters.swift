import LinuxSystem

/// A device's memory-mapped registers, as far as a known test device needs them. 32-bit accesses at byte offsets.
protocol DeviceRegisters: Sendable {
    /// Reads the register at `offset` of base address register `bar`.
    func read32(bar: Int, at offset: UInt64) throws(KernelError) -> UInt32

    /// Writes it.
    func write32(_ value: UInt32, bar: Int, at offset: UInt64) throws(KernelError)

    /// Lets the device write to memory, which a message signalled interrupt is (Bus Master Enable, PCI 3.0 section
    /// 6.2.2). DMA still goes nowhere, because nothing is mapped for it.
    func enableBusMaster() throws(KernelError)
}
