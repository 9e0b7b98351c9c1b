internal import PCI

extension DeviceIdentity {
    /// What a part comes to at a device.
    enum Verdict {
        case agrees
        case differs
        /// The device has not told yet.
        case unknown
    }

    /// Whether a device in `inventory` has a part as it is given; nil if it is not given.
    func verdict(_ part: Part, on device: Inventory.Device, in inventory: Inventory) -> Verdict? {
        func verdict<Value: Equatable>(_ wanted: Value?, _ found: @autoclosure () -> Value?) -> Verdict? {
            wanted.map { $0 == found() ? .agrees : .differs }
        }
        let function = device.attributes.function
        return switch part {
        case .address: verdict(address, device.address)
        case .path: path.map { $0.leads(along: device.attributes.route) ? .agrees : .differs }
        case .serial where device.configuration == nil: serial.map { _ in .unknown }
        case .serial: verdict(serial, device.configuration?.serialNumber)
        case .slot: verdict(slot, inventory.slot(of: device))
        case .id: verdict(id, function.ids)
        case .subsystem: verdict(subsystem, function.subsystemIDs)
        }
    }

    /// Whether all parts agree.
    func agrees(with device: Inventory.Device, in inventory: Inventory) -> Bool {
        Part.allCases.allSatisfy { part in
            verdict(part, on: device, in: inventory).map { $0 == .agrees } ?? true
        }
    }

    /// What a part is at a device, for people.
    static func found(_ part: Part, on device: Inventory.Device, in inventory: Inventory) -> String {
        let none = "none"
        return switch part {
        case .address: device.address.description
        case .path: device.attributes.route.map(\.description).joined(separator: "/")
        case .serial: device.configuration?.serialNumber?.description ?? none
        case .slot: inventory.slot(of: device) ?? none
        case .id: device.attributes.function.ids.description
        case .subsystem: device.attributes.function.subsystemIDs.description
        }
    }
}
