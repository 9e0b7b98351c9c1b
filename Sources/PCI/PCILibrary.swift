internal import CPCI
internal import LinuxSystem

/// What libpci could not do, in its own words.
public struct PCILibraryError: Error, Hashable, Sendable, CustomStringConvertible {
    /// libpci's message.
    public let description: String
}

/// libpci, for what it knows better than a reader of files: which functions there are, and what their ids are called.
///
/// Its calls share one lock; libpci keeps its state in the access, and its way back from an error is process-wide.
public final class PCILibrary: Sendable {
    /// What outlives a call.
    @safe private struct Shared {
        /// The access that has pci.ids loaded: reading it takes longer than all that is asked of it.
        var names: UnsafeMutablePointer<pci_access>?
    }

    private static let shared = Lock(Shared())
    private let path: String

    /// Uses the PCI bus below `sysfs`, such as `/sys`.
    public init(sysfs: String) {
        path = sysfs + "/bus/pci"
    }

    /// The addresses of all functions, ascending (pci_scan_bus).
    public func addresses() throws(PCILibraryError) -> [PCIAddress] {
        // libpci gives up on such an entry, and leaves what it had open.
        let entries = (try? listDirectory(path + "/devices")) ?? []
        if let stranger = entries.first(where: { PCIAddress($0) == nil }) {
            throw PCILibraryError(description: "\(path)/devices/\(stranger) is no PCI address")
        }
        return try unsafe access { access throws(PCILibraryError) in
            guard unsafe cpci_scan(access) == 0 else { throw PCILibrary.lastError() }
            var found: [PCIAddress] = []
            // SAFETY: the list belongs to the access, which is open until this closure ends.
            var next = unsafe access.pointee.devices
            while let device = unsafe next {
                let address = unsafe PCIAddress(
                    domain: UInt32(bitPattern: device.pointee.domain), bus: device.pointee.bus,
                    device: device.pointee.dev, function: device.pointee.func)
                if let address { found.append(address) }
                unsafe next = device.pointee.next
            }
            return found.sorted()
        }
    }

    /// What functions are called. Ids that pci.ids does not know are named by their numbers. The file is read once in
    /// the process' life.
    public static func names(of functions: [PCIFunction]) throws(PCILibraryError) -> [PCINames] {
        let result: Result<[PCINames], PCILibraryError> = shared.withLock { shared in
            do throws(PCILibraryError) {
                let access =
                    if let loaded = unsafe shared.names { unsafe loaded } else { try unsafe open("/sys/bus/pci") }
                // Abandoned if a look-up fails.
                unsafe shared.names = nil
                let names = try unsafe names(of: functions, access)
                unsafe shared.names = access
                return .success(names)
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    private static func names(
        of functions: [PCIFunction], _ access: UnsafeMutablePointer<pci_access>
    ) throws(PCILibraryError) -> [PCINames] {
        var names: [PCINames] = []
        for function in functions {
            let device = try unsafe PCILibrary.name(
                access, PCI_LOOKUP_VENDOR.rawValue | PCI_LOOKUP_DEVICE.rawValue, function.vendorID,
                function.deviceID)
            let kind = try unsafe PCILibrary.name(
                access, PCI_LOOKUP_CLASS.rawValue, UInt16(truncatingIfNeeded: function.classCode >> 8), 0)
            names.append(PCINames(device: device, kind: kind))
        }
        return names
    }

    private func access<Value>(
        _ body: (UnsafeMutablePointer<pci_access>) throws(PCILibraryError) -> Value
    ) throws(PCILibraryError) -> Value {
        let result: Result<Value, PCILibraryError> = PCILibrary.shared.withLock { _ in
            do throws(PCILibraryError) {
                let access = try unsafe PCILibrary.open(path)
                defer { unsafe pci_cleanup(access) }
                return .success(try unsafe body(access))
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    private static func open(_ path: String) throws(PCILibraryError) -> UnsafeMutablePointer<pci_access> {
        var bytes = path.utf8CString
        // SAFETY: libpci keeps a copy of the path, which is terminated and lives until the call returns.
        let access = unsafe bytes.withUnsafeMutableBufferPointer { buffer -> UnsafeMutablePointer<pci_access>? in
            guard let start = buffer.baseAddress else { return nil }
            return unsafe cpci_open(start)
        }
        guard let access = unsafe access else { throw lastError() }
        return unsafe access
    }

    private static func name(
        _ access: UnsafeMutablePointer<pci_access>, _ kind: UInt32, _ first: UInt16, _ second: UInt16
    ) throws(PCILibraryError) -> String {
        let flags = CInt(bitPattern: kind | PCI_LOOKUP_NO_HWDB.rawValue)
        var buffer = [CChar](repeating: 0, count: 512)
        // SAFETY: libpci writes at most the given size, NUL included; the buffer's last byte is never given.
        let found = unsafe cpci_name(access, &buffer, CInt(buffer.count - 1), flags, CInt(first), CInt(second)) != nil
        guard found else { throw lastError() }
        return String(decoding: buffer.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    private static func lastError() -> PCILibraryError {
        // SAFETY: a static buffer, always terminated; the lock is held.
        unsafe PCILibraryError(description: String(cString: cpci_last_message()))
    }
}

/// What a function's ids are called.
public struct PCINames: Hashable, Sendable {
    /// Vendor and device.
    public let device: String
    /// The class.
    public let kind: String

    /// Creates names.
    public init(device: String, kind: String) {
        (self.device, self.kind) = (device, kind)
    }
}
