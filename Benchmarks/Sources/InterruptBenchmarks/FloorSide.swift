internal import CFloor
internal import InterruptSources
internal import LinuxSystem
internal import SystemPackage

/// The least kernel work, in C. There is one, because C keeps its state in statics.
struct FloorSide: BenchmarkSide {
    private var type = InterruptType.msix
    private var count = 0

    /// A floor over a machine of its own, and over a VFIO device if one is given by its descriptor.
    init(foreignRoutes: Int, device: CInt?) throws {
        floor_use_device(device ?? -1)
        try check("floor_open_machine", floor_open_machine(CInt(foreignRoutes)))
    }

    var requests: Int { floor_requests() }

    mutating func create(_ type: InterruptType, count: Int) throws {
        self.type = type
        // The line has a second eventfd: the one that the guest's EOI signals.
        self.count = type == .legacy ? 2 : count
        try check("eventfd", floor_make_notifiers(CInt(self.count)))
    }

    func enable() throws {
        switch type {
        case .msix: try check("enable", floor_enable(CInt(count)))
        case .msi: try check("enable", floor_enable_msi(CInt(count)))
        case .legacy: try check("enable", floor_enable_line())
        }
    }

    func disable() throws {
        switch type {
        case .msix: try check("disable", floor_disable(CInt(count)))
        case .msi: try check("disable", floor_disable_msi(CInt(count)))
        case .legacy: try check("disable", floor_disable_line())
        }
    }

    func destroy() { floor_close_notifiers(CInt(count)) }

    func update(_ index: Int) throws { try check("update", floor_update(CInt(index))) }

    func trigger(_ index: Int) throws { try check("trigger", floor_trigger(CInt(index))) }

    func mask(_ index: Int) throws {
        switch type {
        case .msix: try check("mask", floor_mask_msix(CInt(index)))
        case .msi: try check("mask", floor_mask_msi(CInt(index)))
        case .legacy: try check("mask", floor_mask_line())
        }
    }

    func unmask(_ index: Int) throws {
        switch type {
        case .msix: try check("unmask", floor_unmask_msix(CInt(index)))
        case .msi: try check("unmask", floor_unmask_msi(CInt(index)))
        case .legacy: try check("unmask", floor_unmask_line())
        }
    }

    mutating func bringUp(count: Int) throws {
        try create(.msix, count: count)
        try enable()
    }

    private func check(_ call: String, _ result: CInt) throws(KernelError) {
        if result < 0 { throw KernelError(call, on: "the floor", Errno(rawValue: -result)) }
    }
}
