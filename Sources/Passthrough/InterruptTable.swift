internal import InterruptSources
internal import LinuxSystem
internal import PCI

/// The host's interrupts that VFIO has connected, from /proc/interrupts.
///
/// A line has the number, a count per CPU, the chip, the line of the chip and the names, of which VFIO's are
/// `vfio-intx(ADDRESS)`, `vfio-msi[INDEX](ADDRESS)` and `vfio-msix[INDEX](ADDRESS)` (vfio_pci_intrs.c).
struct InterruptTable {
    /// One connected vector.
    struct Row: Hashable {
        let address: PCIAddress
        let type: InterruptType
        let index: Int
        let interrupt: Int
        /// Over all CPUs.
        let count: Int
    }

    let rows: [Row]

    /// Takes the file's content. A line that is not understood is left out.
    init(_ text: String) {
        let lines = text.split(separator: "\n")
        let processors = lines.first?.split(separator: " ").count { $0.hasPrefix("CPU") } ?? 0
        rows = lines.dropFirst().compactMap { InterruptTable.row($0, processors: processors) }
    }

    private static func row(_ line: Substring, processors: Int) -> Row? {
        guard line.contains("vfio-") else { return nil }
        let fields = line.split(separator: " ")
        guard let first = fields.first, first.hasSuffix(":"), let interrupt = Int(first.dropLast()) else { return nil }
        let counts = fields.dropFirst().prefix(processors).map { Int($0) }
        guard counts.count == processors, let name = fields.last(where: { $0.hasPrefix("vfio-") }) else { return nil }
        var total = 0
        for count in counts {
            guard let count, count >= 0 else { return nil }
            total = total.addingReportingOverflow(count).overflow ? Int.max : total + count
        }
        guard let open = name.firstIndex(of: "("), name.hasSuffix(")"),
            let address = PCIAddress(String(name[name.index(after: open)...].dropLast()))
        else { return nil }
        let source = name[..<open].dropFirst("vfio-".count)
        let parts = source.split(separator: "[", maxSplits: 1)
        guard let typeName = parts.first, let type = InterruptType(rawValue: String(typeName)) else { return nil }
        guard parts.count == 2 else {
            return Row(address: address, type: type, index: 0, interrupt: interrupt, count: total)
        }
        guard parts[1].hasSuffix("]"), let index = Int(parts[1].dropLast()), (0..<type.maximumCount).contains(index)
        else { return nil }
        return Row(address: address, type: type, index: index, interrupt: interrupt, count: total)
    }
}
