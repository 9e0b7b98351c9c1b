internal import FoundationEssentials
internal import LinuxSystem
internal import PCI
internal import SystemPackage

/// The records of the devices that vfiod has changed, one file each, so that a crash at any point leaves one that is
/// whole.
struct IntentLog: Sendable {
    /// What a file of the log holds.
    enum Entry {
        case record(DeviceRecord)
        /// No record that can be followed, and why.
        case corrupt(reason: String)
    }

    private static let suffix = ".json"
    private let directory: String

    /// Keeps the files in `directory`, which is made if its parent exists.
    init(directory: String) throws(KernelError) {
        self.directory = directory
        try makeDirectory(directory)
    }

    func path(of address: PCIAddress) -> String { "\(directory)/\(address)\(IntentLog.suffix)" }

    /// On disk when it returns.
    func save(_ record: DeviceRecord, of address: PCIAddress) throws(KernelError) {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        guard let data = try? encoder.encode(record) else {
            throw KernelError("encode", on: path(of: address), .invalidArgument)
        }
        try replaceFile(path(of: address), with: Array(data))
    }

    func remove(_ address: PCIAddress) throws(KernelError) {
        try removeFile(path(of: address))
    }

    /// All entries, by the file's name. A name that is no address is not ours.
    func entries() throws(KernelError) -> [(address: PCIAddress, entry: Entry)] {
        var found: [(address: PCIAddress, entry: Entry)] = []
        for name in try listDirectory(directory) where name.hasSuffix(IntentLog.suffix) {
            guard let address = PCIAddress(String(name.dropLast(IntentLog.suffix.count))) else { continue }
            found.append((address, try entry(of: address)))
        }
        return found
    }

    /// Keeps a corrupt file for people to look at, out of our way. Returns its new path.
    func setAside(_ address: PCIAddress) throws(KernelError) -> String {
        let aside = path(of: address) + ".corrupt"
        try renameFile(path(of: address), to: aside)
        return aside
    }

    /// Throws where the file cannot be read: that says nothing about what it holds, and it is the one way back.
    private func entry(of address: PCIAddress) throws(KernelError) -> Entry {
        let bytes: [UInt8]
        do throws(KernelError) {
            bytes = try readFile(path(of: address), limit: 1 << 16)
        } catch {
            // No record is as long as that.
            if error.errno == .fileTooLarge { return .corrupt(reason: "\(error)") }
            throw error
        }
        guard let record = try? JSONDecoder().decode(DeviceRecord.self, from: Data(bytes)) else {
            return .corrupt(reason: "it is no record")
        }
        return record.isValid(for: address)
            ? .record(record) : .corrupt(reason: "it is of another version, or not about this device")
    }
}
