import Testing

/// One rule of the kernel's VFIO: calls in order, what each answers, and what can be seen afterwards.
///
/// The rules stand in ``VFIORules``. They are run against the fake and against the lab's kernel, so that the fake
/// cannot share its author's mistakes.
struct VFIORule: Sendable, CustomTestStringConvertible {
    let name: String
    let device: RuleDevice
    let steps: [Step]

    var testDescription: String { name }

    /// A rule of an open device.
    init(_ name: String, _ device: RuleDevice, _ steps: [Step]) {
        self.name = name
        self.device = device
        self.steps = [.container(.ok), .group(.ok), .setContainer(.ok), .setIOMMU(.ok), .device(.ok)] + steps
    }

    /// A rule of opening a device.
    init(opening name: String, _ device: RuleDevice, _ steps: [Step]) {
        self.name = name
        self.device = device
        self.steps = steps
    }

    /// What a rule may depend on.
    enum Condition: Sendable {
        /// Linux 6.5 or later, with which MSI-X became dynamic.
        case linux6dot5
        /// Linux 7.3 or later, with which every device has the index of errors.
        case linux7dot3
        /// The host remaps interrupts.
        case interruptRemapping
    }

    /// What a call answers.
    indirect enum Outcome: Sendable {
        case ok
        /// A positive result.
        case available(Int)
        case errno(String)
        case when(Condition, Outcome, else: Outcome)
        /// One or the other, and nothing changed by either: stable kernels of one version differ.
        case either(Outcome, Outcome)
    }

    /// The data of a VFIO_DEVICE_SET_IRQS.
    enum Payload: Sendable {
        case none(count: UInt32)
        case bools([UInt8])
        case eventfds([Descriptor])
        /// More than one data flag, or none: the flags as they are, with this count.
        case malformed(flags: UInt32, count: UInt32)
    }

    /// A descriptor in that data.
    enum Descriptor: Sendable, ExpressibleByIntegerLiteral {
        /// The rule's eventfd of this number.
        case eventfd(Int)
        /// This number itself.
        case raw(Int32)
        /// An open file that is no eventfd.
        case otherFile

        init(integerLiteral value: Int) { self = .eventfd(value) }
    }

    /// A descriptor in a VFIO_DEVICE_PCI_HOT_RESET.
    enum HotResetDescriptor: Sendable {
        /// The device's IOMMU group.
        case group
        /// An open file that is no IOMMU group.
        case otherFile
        /// No open file.
        case closed
    }

    enum Index: UInt32, Sendable { case intx, msi, msix, err, req, none = 9 }

    struct Action: OptionSet, Sendable {
        let rawValue: UInt32
        static let mask = Action(rawValue: 8)
        static let unmask = Action(rawValue: 16)
        static let trigger = Action(rawValue: 32)
    }

    enum Step: Sendable {
        case container(Outcome)
        case group(Outcome)
        case setContainer(Outcome)
        case setIOMMU(Outcome)
        /// VFIO_GROUP_GET_DEVICE_FD of the device, or of this name.
        case device(Outcome, named: String? = nil)
        /// Closes what was opened last of these.
        case closeDevice, closeGroup, closeContainer
        /// VFIO_DEVICE_SET_IRQS; `size` in place of the right argsz.
        case set(Index, Action, Payload, start: UInt32 = 0, size: UInt32? = nil, Outcome)
        /// VFIO_DEVICE_GET_IRQ_INFO: count and flags; `before6dot5`, where they differ, those before Linux 6.5.
        case info(Index, count: UInt32, flags: UInt32, before6dot5: UInt32? = nil)
        case badInfo(Index, Outcome)
        case reset(Outcome)
        /// VFIO_DEVICE_GET_PCI_HOT_RESET_INFO with room for so many functions, and how many it counts; `size` in place of
        /// the right argsz.
        case hotResetInfo(room: Int, size: UInt32? = nil, counts: UInt32? = nil, Outcome)
        /// VFIO_DEVICE_PCI_HOT_RESET with these descriptors.
        case hotReset([HotResetDescriptor], flags: UInt32 = 0, Outcome)
        /// VFIO_IOMMU_MAP_DMA of the rule's memory, 16 pages, from `memory` on; flags: 1 read, 2 write.
        case map(UInt64, size: UInt64, memory: UInt64 = 0, flags: UInt32 = 3, Outcome)
        /// VFIO_IOMMU_UNMAP_DMA, and how many bytes that took out.
        case unmap(UInt64, size: UInt64, bytes: UInt64 = 0, Outcome)
        /// The rule's eventfd of this number is written.
        case signal(Int)
        /// What the rule's eventfds have counted since the last look; those not named nothing.
        case counts([Int: UInt64])
        /// The same, once all of those named have counted something.
        case arrivals([Int: UInt64])
        /// edu asserts its INTx line, or no longer.
        case line(asserted: Bool)
        /// The Command register is written with INTx disable (bit 10) set or clear, as a guest's write would be.
        case command(intxDisable: Bool)
    }
}
