internal import PCI

/// A way to reset a function.
struct ResetMethod: Hashable, Sendable {
    /// The kernel's name for it: flr, af_flr, pm, bus, device_specific, acpi or cxl_bus.
    let name: String
    /// The other functions that it resets too, ascending.
    let others: [PCIAddress]
    /// Whether the function's own `reset` does it; else VFIO's hot reset.
    let isOfFunction: Bool

    /// Those that reset all that is behind a bridge.
    static let ofBus: Set<String> = ["bus", "cxl_bus"]
}
