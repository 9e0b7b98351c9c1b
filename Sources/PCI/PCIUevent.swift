/// What a uevent of the kernel says about PCI.
public enum PCIUevent: Hashable, Sendable {
    /// What happened to a function (kobject_actions, lib/kobject_uevent.c).
    public enum Action: String, Sendable, CaseIterable {
        /// It has come; its drivers are asked next.
        case add
        /// It is gone.
        case remove
        /// Something about it is different: virtual functions, an error.
        case change
        /// It has another path.
        case move
        /// A driver has it now.
        case bind
        /// Its driver has left it.
        case unbind
        /// It may be used again.
        case online
        /// It is not to be used.
        case offline
    }

    /// Something happened to a function. `previous` is where it was, after a move to another address.
    case function(Action, PCIAddress, previous: PCIAddress? = nil)
    /// A slot came or went.
    case slots
    /// It is about something else, or nothing happened: somebody wrote to a function's `uevent`.
    case unrelated

    /// Why a message is none that the kernel would send.
    public struct Malformed: Error, Hashable, Sendable {
        /// One clause.
        public let reason: String

        /// Creates an error.
        public init(reason: String) { self.reason = reason }
    }

    /// Reads a message: `ACTION@DEVPATH`, then `KEY=VALUE` fields, each ended by a NUL.
    public init(_ message: [UInt8]) throws(Malformed) {
        guard message.last == 0 else { throw Malformed(reason: "it does not end with a NUL") }
        let fields = message.dropLast().split(separator: 0, omittingEmptySubsequences: false)
        guard let header = fields.first, let at = header.firstIndex(of: UInt8(ascii: "@")) else {
            throw Malformed(reason: "it has no ACTION@DEVPATH")
        }
        func value(_ key: String) -> ArraySlice<UInt8>? {
            let start = Array(key.utf8) + [UInt8(ascii: "=")]
            return fields.dropFirst().first { $0.starts(with: start) }?.dropFirst(start.count)
        }
        guard let action = value("ACTION"), let path = value("DEVPATH"), let subsystem = value("SUBSYSTEM"),
            action == header[..<at], path == header[(at + 1)...], path.first == UInt8(ascii: "/")
        else { throw Malformed(reason: "its fields do not agree with its ACTION@DEVPATH") }
        switch String(decoding: subsystem, as: UTF8.self) {
        case "slots":
            self = .slots
        case "pci" where value("SYNTH_UUID") == nil:
            guard let action = Action(rawValue: String(decoding: action, as: UTF8.self)) else {
                throw Malformed(reason: "no action of a PCI function")
            }
            guard let address = PCIUevent.address(path) else { throw Malformed(reason: "no path of a PCI function") }
            let previous = value("DEVPATH_OLD").flatMap(PCIUevent.address)
            self = .function(action, address, previous: previous == address ? nil : previous)
        default:
            self = .unrelated
        }
    }

    private static func address(_ path: ArraySlice<UInt8>) -> PCIAddress? {
        guard path.starts(with: "/devices/".utf8), let slash = path.lastIndex(of: UInt8(ascii: "/")) else { return nil }
        return PCIAddress(String(decoding: path[(slash + 1)...], as: UTF8.self))
    }
}
