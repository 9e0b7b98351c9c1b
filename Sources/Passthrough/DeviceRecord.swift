internal import FoundationEssentials
internal import PCI
internal import VFIO

/// What a device was like before vfiod touched it. The texts are the attributes' contents, byte for byte.
struct DeviceSettings: Codable, Hashable, Sendable {
    /// The driver it was bound to, nil if none.
    var driver: String?
    /// True if it was claimed before any driver had it: it goes to the one that the kernel chooses.
    var isForDefaultDriver: Bool?
    var driverOverride: String
    /// power/control.
    var powerControl: String?
    var enable: String?
    /// How many virtual functions it had; nil if it is no physical function.
    var virtualFunctions: Int?
    /// sriov_drivers_autoprobe, likewise.
    var virtualFunctionProbing: String?
    var resetMethod: String?

    /// For people, by attribute.
    var attributes: [String: String] {
        let none = isForDefaultDriver == true ? "its default driver" : ""
        var found = ["driver": driver ?? none, "driver_override": trimmed(driverOverride)]
        found["power/control"] = powerControl.map(trimmed)
        found["enable"] = enable.map(trimmed)
        found["sriov_numvfs"] = virtualFunctions.map { "\($0)" }
        found["sriov_drivers_autoprobe"] = virtualFunctionProbing.map(trimmed)
        found["reset_method"] = resetMethod.map(trimmed)
        return found
    }
}

/// What a reset changes for as long as it runs, and what the device was like before it.
struct ResetIntent: Codable, Hashable, Sendable {
    var method: String
    /// What reset_method lists, where that is changed.
    var resetMethod: String?
    /// The command register, nil if the device did not answer.
    var command: UInt16?
}

/// The intent log's entry of one device: written before the first change, gone when the device is as it was.
struct DeviceRecord: Codable, Hashable, Sendable {
    /// Where the device stands between its host driver and vfio-pci.
    enum Phase: String, Codable {
        /// On its way to vfio-pci. After a crash: put back.
        case binding
        /// Bound.
        case bound
        /// Bound, and being reset. After a crash: look whether it is whole.
        case resetting
        /// Bound, and its virtual functions are being made or removed. After a crash: as many as before.
        case dividing
        /// On its way back. After a crash: go on.
        case restoring
        /// Its virtual functions are being made. After a crash: put back.
        case creating
        /// It has the virtual functions that were asked for, and its host driver.
        case created

        /// Whether vfio-pci has it.
        var isBound: Bool { self == .bound || self == .resetting || self == .dividing }
    }

    static let currentVersion = 1

    var version = DeviceRecord.currentVersion
    var device: String
    var vendorID: UInt16
    var deviceID: UInt16
    /// The boot it was written in. After another one the kernel has forgotten all that we changed.
    var bootID: String
    var phase: Phase
    /// The last step begun, for people.
    var step: String
    var before: DeviceSettings
    /// The member of its IOMMU group with which it was bound, if nobody asked for it by itself.
    var onBehalfOf: String?
    /// What the configuration calls it, if Apply took it.
    var appliedAs: String?
    /// The reset that runs.
    var reset: ResetIntent?
    /// Why it is to be used for nothing until somebody releases it by hand.
    var quarantine: String?
    /// How many virtual functions its host driver was asked for; nil if it was not.
    var virtualFunctions: Int?
    /// How many vfio-pci has made of it; nil for none.
    var parts: Int?
    /// What opens those, and the device itself while they are in use; nil if none were ever made.
    var token: VFIOToken?
    /// Whom it is given to.
    var lease: LeaseTerms?
    /// Whom it was given to last, since it was bound.
    var lastOwner: LeaseOwner?

    /// Whether it is an entry of `address` that can be followed: a driver's name goes into paths.
    func isValid(for address: PCIAddress) -> Bool {
        version == DeviceRecord.currentVersion && device == address.description
            && (before.driver.map(SysfsWriter.isName) ?? true)
            && (appliedAs.map(DeviceSelector.isName) ?? true) && (onBehalfOf.map { PCIAddress($0) != nil } ?? true)
    }
}

/// Without the white space at the end.
func trimmed(_ text: String) -> String {
    var rest = text[...]
    while let last = rest.last, last.isWhitespace || last == "\0" { rest = rest.dropLast() }
    return String(rest)
}
