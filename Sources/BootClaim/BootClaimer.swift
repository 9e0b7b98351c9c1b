public import LinuxSystem
public import PCI

/// Gives devices to vfio-pci before a driver of the host is loaded: writes their driver_override, as the kernel's events
/// tell of the devices.
///
/// The driver that an event makes udev load probes every device that it fits, not just the one of the event. So each
/// event claims all devices that are there by then.
public struct BootClaimer: Sendable {
    /// What is written to driver_override.
    public static let driver = "vfio-pci"

    private let sysfs: Sysfs
    private let write: @Sendable (String, String) throws(KernelError) -> Void

    /// Claims devices of `sysfs`. `write` writes a value to a path.
    public init(
        _ sysfs: Sysfs = Sysfs(),
        write: @escaping @Sendable (String, String) throws(KernelError) -> Void = {
            (value, path) throws(KernelError) in
            try writeOnce(Array(value.utf8), to: openFile(path, .writeOnly), path: path)
        }
    ) {
        (self.sysfs, self.write) = (sysfs, write)
    }

    /// Claims what can be claimed now. Returns a line for the kernel's log for each device that was, and for what stands
    /// against the claims of the device that an event is about.
    public func claim(_ claims: BootClaims, event: PCIAddress?) -> [String] {
        let addresses = sysfs.addresses()
        return claims.claims.compactMap { claim in
            let agreeing = addresses.filter { mismatch(of: claim.identity, at: $0) == nil }
            guard let address = agreeing.first else { return missing(claim, among: addresses, event) }
            guard agreeing.count == 1 else {
                return agreeing.contains { $0 == event }
                    ? "\(claim.name) may be any of \(agreeing.map(\.description).joined(separator: ", ")); none is taken"
                    : nil
            }
            return take(address, for: claim, event)
        }
    }

    private func take(_ address: PCIAddress, for claim: BootClaims.Claim, _ event: PCIAddress?) -> String? {
        if let driver = sysfs.driver(of: address) {
            return driver == BootClaimer.driver || address != event
                ? nil : "\(claim.name) at \(address) is not taken: \(driver) has it already"
        }
        guard sysfs.text(address, "driver_override") != BootClaimer.driver else { return nil }
        do throws(KernelError) {
            try write(BootClaimer.driver, sysfs.path(of: address, "driver_override"))
            return "\(claim.name) at \(address) is kept for \(BootClaimer.driver)"
        } catch {
            return "\(claim.name) at \(address) is not taken: \(error)"
        }
    }

    /// Says what differs at the device that the event is about, if that is the one a claim means most likely.
    private func missing(
        _ claim: BootClaims.Claim, among addresses: [PCIAddress], _ event: PCIAddress?
    ) -> String? {
        guard let event, claim.identity.address == event, addresses.contains(event),
            let found = mismatch(of: claim.identity, at: event)
        else { return nil }
        return "\(claim.name) is not taken: \(event) has \(found.part.rawValue) \(found.value) instead of"
            + " \(claim.identity.expected(found.part) ?? "none")"
    }

    /// The first part in which a device differs, and what it has there.
    private func mismatch(
        of identity: DeviceIdentity, at address: PCIAddress
    ) -> (part: DeviceIdentity.Part, value: String)? {
        guard let function = sysfs.function(address) else { return (.address, "no ids") }
        func difference<Value: Equatable & CustomStringConvertible>(
            _ part: DeviceIdentity.Part, _ wanted: Value?, _ found: @autoclosure () -> Value?
        ) -> (part: DeviceIdentity.Part, value: String)? {
            guard let wanted else { return nil }
            let found = found()
            return wanted == found ? nil : (part, found?.description ?? "none")
        }
        // The serial number last: it is read from the device.
        if let found = difference(.address, identity.address, address) ?? difference(.id, identity.id, function.ids)
            ?? difference(.subsystem, identity.subsystem, function.subsystemIDs)
        {
            return found
        }
        let route = sysfs.route(to: address)
        if let path = identity.path, !path.leads(along: route) {
            return (.path, route.map(\.description).joined(separator: "/"))
        }
        return difference(.serial, identity.serial, sysfs.configSpace(of: address).serialNumber)
    }
}
