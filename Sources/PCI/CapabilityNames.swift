/// What a capability is called in the PCI specifications; nil for an id that is not known here. Extended capabilities of
/// PCI Express are numbered apart.
public func capabilityName(_ id: UInt16, isExtended: Bool) -> String? {
    isExtended ? extendedNames[id] : names[id]
}

// PCI Code and ID Assignment Specification 1.11, section 2.
private let names: [UInt16: String] = [
    0x01: "Power Management", 0x02: "AGP", 0x03: "Vital Product Data", 0x04: "Slot Identification", 0x05: "MSI",
    0x06: "CompactPCI Hot Swap", 0x07: "PCI-X", 0x08: "HyperTransport", 0x09: "Vendor Specific", 0x0a: "Debug Port",
    0x0c: "PCI Hot-Plug", 0x0d: "Bridge Subsystem ID", 0x0e: "AGP 8x", 0x0f: "Secure Device", 0x10: "PCI Express",
    0x11: "MSI-X", 0x12: "SATA", 0x13: "Advanced Features", 0x14: "Enhanced Allocation",
]

// Section 3.
private let extendedNames: [UInt16: String] = [
    0x0001: "Advanced Error Reporting", 0x0002: "Virtual Channel", 0x0003: "Device Serial Number",
    0x0004: "Power Budgeting", 0x000b: "Vendor Specific", 0x000d: "Access Control Services",
    0x000e: "Alternative Routing-ID", 0x000f: "Address Translation Services", 0x0010: "SR-IOV",
    0x0012: "Multicast", 0x0013: "Page Request", 0x0015: "Resizable BAR", 0x0016: "Dynamic Power Allocation",
    0x0017: "TPH Requester", 0x0018: "Latency Tolerance Reporting", 0x0019: "Secondary PCI Express",
    0x001b: "Process Address Space ID", 0x001d: "Downstream Port Containment", 0x001e: "L1 PM Substates",
    0x001f: "Precision Time Measurement", 0x0023: "Designated Vendor Specific", 0x0024: "VF Resizable BAR",
    0x0025: "Data Link Feature", 0x0026: "Physical Layer 16.0 GT/s", 0x0027: "Lane Margining",
    0x002a: "Physical Layer 32.0 GT/s", 0x002e: "Data Object Exchange", 0x0030: "Integrity and Data Encryption",
]
