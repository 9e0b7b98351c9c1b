internal import PCI
internal import Passthrough
internal import TOMLKit

/// Reads the `[[device]]` and `[[pool]]` tables of the configuration file.
struct ConfigurationNames {
    /// The names of the tables.
    static let tables = ["device", "pool"]

    private static let ids = ["vendor", "device", "subsystem-vendor", "subsystem-device"]
    private static let provisionKeys = ["bind", "claim-at-boot", "virtual-functions", "consent", "map-bars"]
    private static let deviceKeys = ["name", "address", "serial", "path", "slot"] + ids + provisionKeys
    private static let poolKeys = ["name", "devices"]

    private(set) var names = NamedDevices()
    private let lines: ConfigurationLines
    private let path: String

    init(_ root: TOMLTable, _ lines: ConfigurationLines, path: String) throws(ConfigurationError) {
        (self.lines, self.path) = (lines, path)
        for place in try tables("device", in: root) {
            try refuseUnknownKeys(of: place, but: ConfigurationNames.deviceKeys)
            let name = try name(place)
            let identity = try identity(place)
            names.devices.append(
                NamedDevices.Device(name: name, identity: identity, provision: try provision(place, of: identity)))
        }
        // Pools may stand before the devices they name.
        for place in try tables("pool", in: root) {
            try refuseUnknownKeys(of: place, but: ConfigurationNames.poolKeys)
            let name = try name(place)
            names.pools.append(NamedDevices.Pool(name: name, members: try members(place)))
        }
    }

    /// One of the tables of a name, and its number among them, from 1.
    private struct Place {
        let kind: String
        let number: Int
        let table: TOMLTable
    }

    private func tables(_ kind: String, in root: TOMLTable) throws(ConfigurationError) -> [Place] {
        guard let value = root[kind] else { return [] }
        guard let array = value.array else {
            throw ConfigurationError(
                path: path, line: lines.line(of: nil, in: kind) ?? lines.line(of: kind, in: ""),
                reason: "\(kind) must be tables, each below a line [[\(kind)]]")
        }
        var places: [Place] = []
        for (index, element) in array.enumerated() {
            guard let table = element.table else {
                throw ConfigurationError(
                    path: path, line: lines.line(of: kind, in: ""), reason: "\(kind) \(index + 1) is no table")
            }
            places.append(Place(kind: kind, number: index + 1, table: table))
        }
        return places
    }

    private func unfit(_ place: Place, _ key: String?, _ reason: String) -> ConfigurationError {
        let line = lines.line(of: key, in: place.kind, number: place.number)
        return ConfigurationError(
            path: path, line: line ?? lines.line(of: nil, in: place.kind, number: place.number),
            reason: "[[\(place.kind)]] number \(place.number): " + (key.map { "\($0) \(reason)" } ?? reason))
    }

    private func refuseUnknownKeys(of place: Place, but keys: [String]) throws(ConfigurationError) {
        for key in place.table.keys.sorted() where !keys.contains(key) {
            throw unfit(place, key, "is no key" + suggestion(for: key, among: keys))
        }
    }

    private func text(_ place: Place, _ key: String) throws(ConfigurationError) -> String? {
        guard let value = place.table[key] else { return nil }
        guard let text = value.string else { throw unfit(place, key, "must be a text in quotes") }
        return text
    }

    private func name(_ place: Place) throws(ConfigurationError) -> String {
        guard let name = try text(place, "name") else { throw unfit(place, nil, "it has no name") }
        guard DeviceSelector.isName(name) else {
            throw unfit(
                place, "name",
                "must be 1 to \(DeviceSelector.maximumNameLength) letters, digits or _.-, a letter or digit first, and not"
                    + " look like an address")
        }
        guard names.device(name) == nil && names.pool(name) == nil else {
            throw unfit(place, "name", "is \(name), as that of another table is")
        }
        return name
    }

    private func identity(_ place: Place) throws(ConfigurationError) -> DeviceIdentity {
        var identity = DeviceIdentity()
        for (part, form) in [
            (DeviceIdentity.Part.address, "0000:00:10.0, or 00:10.0 where the domain is 0"),
            (.serial, "52-54-00-ff-ff-12-34-56"), (.path, "00:1c.0/00.0, from the root bus"),
            (.slot, "4, at most \(DeviceIdentity.maximumSlotLength) bytes long"),
        ] {
            guard let text = try text(place, part.rawValue) else { continue }
            guard identity.set(part, text) else { throw unfit(place, part.rawValue, "must have the form \(form)") }
        }
        identity.id = try ids(place, "")
        identity.subsystem = try ids(place, "subsystem-")
        guard !identity.isEmpty else {
            throw unfit(
                place, nil,
                "it says nothing of the device but a name: give address, serial, path, slot, or vendor and device")
        }
        return identity
    }

    private func ids(_ place: Place, _ prefix: String) throws(ConfigurationError) -> PCIIDs? {
        let keys = ["\(prefix)vendor", "\(prefix)device"]
        var numbers: [UInt16] = []
        for key in keys {
            guard let text = try text(place, key) else { continue }
            guard let number = PCIIDs.number(text) else {
                throw unfit(place, key, "must be four hexadecimal digits in quotes")
            }
            numbers.append(number)
        }
        guard numbers.count != 1 else {
            throw unfit(
                place, keys.first { place.table[$0] != nil },
                "stands alone; \(keys.joined(separator: " and "))"
                    + " are given together")
        }
        guard let vendor = numbers.first, let device = numbers.last else { return nil }
        return PCIIDs(vendor: vendor, device: device)
    }

    private func provision(
        _ place: Place, of identity: DeviceIdentity
    ) throws(ConfigurationError) -> Provision {
        var provision = Provision()
        provision.isBound = try flag(place, "bind")
        provision.isClaimedAtBoot = try flag(place, "claim-at-boot")
        if let value = place.table["virtual-functions"] {
            // NumVFs has 16 bits (PCI Express 9.3.3.7).
            guard let number = value.int, let count = UInt16(exactly: number) else {
                throw unfit(place, "virtual-functions", "must be a whole number from 0 to 65535")
            }
            provision.virtualFunctions = Int(count)
        }
        if provision.isClaimedAtBoot {
            if !provision.isBound { throw unfit(place, "claim-at-boot", "goes with bind = true only") }
            if identity.slot != nil {
                throw unfit(place, "claim-at-boot", "goes not with slot, which is not known before drivers are loaded")
            }
        }
        provision.consent = try consent(place)
        if place.table["map-bars"] != nil { provision.mapsBARs = try flag(place, "map-bars") }
        return provision
    }

    private func flag(_ place: Place, _ key: String) throws(ConfigurationError) -> Bool {
        guard let value = place.table[key] else { return false }
        guard let flag = value.bool else { throw unfit(place, key, "must be true or false") }
        return flag
    }

    private func consent(_ place: Place) throws(ConfigurationError) -> Set<Consent> {
        guard let value = place.table["consent"] else { return [] }
        guard let array = value.array else {
            throw unfit(place, "consent", "must be a list of blockers, each in quotes")
        }
        var found: Set<Consent> = []
        for element in array {
            guard let text = element.string, let consent = Consent(text) else {
                throw unfit(place, "consent", "has an element that is no blocker which consent overrides: \(element)")
            }
            found.insert(consent)
        }
        return found
    }

    private func members(_ place: Place) throws(ConfigurationError) -> [DeviceSelector] {
        guard let array = place.table["devices"]?.array, !array.isEmpty else {
            throw unfit(place, "devices", "must be a list of one device or more, each in quotes")
        }
        var members: [DeviceSelector] = []
        for element in array {
            guard let text = element.string, let member = DeviceSelector(text) else {
                throw unfit(
                    place, "devices",
                    "has an element that is no name, no address, and no parts such as id=8086:10ca: \(element)")
            }
            if case .name(let name) = member, names.device(name) == nil {
                throw unfit(place, "devices", "has \(name), which is the name of no [[device]]")
            }
            guard !members.contains(member) else { throw unfit(place, "devices", "has \(member) twice") }
            members.append(member)
        }
        return members
    }
}
