internal import LinuxSystem
internal import PCI
internal import SystemPackage
internal import VFIO

/// A reset of a whole bus, through VFIO: it wants the IOMMU groups of all functions on it open, as the proof that nobody
/// else uses any of them.
struct HotReset: Sendable {
    /// The device first.
    let affected: [PCIAddress]
    let token: VFIOToken?
    let planner: Planner
    let kernel: any Kernel
    /// Its name, for what is refused.
    let operation: String

    /// The device and the IOMMU groups, open.
    struct Opened {
        let device: VFIODevice
        let groups: [VFIOGroup]
    }

    func open() throws(PassthroughError) -> Opened {
        let sysfs = planner.root.sysfs
        guard let address = affected.first, let own = sysfs.iommuGroup(of: address) else {
            throw .deviceNotFound(affected.first?.description ?? "")
        }
        return try naming("open", \.vfioOpenHint) { () throws(KernelError) in
            let container = try VFIOContainer(kernel)
            let group = try VFIOGroup(own, in: container)
            var groups = [group]
            for number in Set(affected.compactMap(sysfs.iommuGroup)).subtracting([own]).sorted() {
                groups.append(try VFIOGroup(number, in: container))
            }
            try container.setIOMMU()
            return Opened(device: try group.device(address, token: token), groups: groups)
        }
    }

    /// Throws unless the kernel resets none but those that are known. Returns which.
    func check(_ opened: Opened) throws(PassthroughError) -> [PCIAddress] {
        let named = try naming("dependents", { _ in "The bridge above the device cannot reset its bus." }) {
            () throws(KernelError) in try opened.device.hotResetSet()
        }
        let strangers = named.filter { !affected.contains($0) }
        if !strangers.isEmpty {
            let blockers = strangers.map { planner.hotResetBlocker($0, with: opened.device.address) }
            throw .refused(opened.device.address, operation: operation, blockers)
        }
        return named
    }

    func reset(_ opened: Opened) throws(PassthroughError) {
        try naming("reset", HotReset.hint) { () throws(KernelError) in try opened.device.hotReset(opened.groups) }
    }

    private static func hint(_ error: KernelError) -> String {
        switch error.errno {
        case .resourceBusy, .resourceTemporarilyUnavailable: "One of them is being worked on. Try again."
        default: "The kernel log may say why (journalctl -k)."
        }
    }

    private func naming<Value>(
        _ step: String, _ hint: (KernelError) -> String, _ body: () throws(KernelError) -> Value
    ) throws(PassthroughError) -> Value {
        do throws(KernelError) {
            return try body()
        } catch {
            guard let address = affected.first else { throw .deviceNotFound("") }
            throw .kernel(address, step: step, error, hint: hint(error))
        }
    }
}
