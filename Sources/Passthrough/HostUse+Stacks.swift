internal import LinuxSystem
internal import PCI

// Block devices and network interfaces that are built upon those of a function, mounted or addressed or not.
extension HostUse {
    /// The arrays, volumes and the like above a function's disks, by what they are.
    func stackBlockers(of address: PCIAddress, _ devices: BlockDevices) -> [Blocker] {
        var found: [BlockerCode: [(name: String, evidence: String)]] = [:]
        for name in devices.names(on: address) {
            let directory = "\(root.path)/sys/class/block/\(name)"
            guard let (code, evidence) = stacked(directory) else { continue }
            found[code, default: []].append((label(name, directory), evidence))
        }
        return found.sorted { $0.key.rawValue < $1.key.rawValue }.compactMap { code, uppers in
            guard let first = uppers.first else { return nil }
            let names = uppers.prefix(5).map(\.name).joined(separator: ", ") + (uppers.count > 5 ? " and others" : "")
            return Blocker(
                code: code, message: "\(address) \(HostUse.membership(code)) \(names).", evidence: first.evidence,
                remedy: HostUse.remedy(code, upper: first.name))
        }
    }

    /// What kind of upper device it is and where that is seen; nil for one that is no upper device.
    private func stacked(_ directory: String) -> (BlockerCode, evidence: String)? {
        func text(_ name: String) -> String? { try? readText("\(directory)/\(name)", limit: 4096) }
        if pathExists(directory + "/md") {
            return (.raidMember, "\(directory)/md/array_state: \(text("md/array_state") ?? "unknown")")
        }
        if let uuid = text("dm/uuid") {
            let code: BlockerCode =
                uuid.hasPrefix("LVM-") ? .lvmMember : uuid.contains("mpath-") ? .multipathMember : .blockDeviceMember
            return (code, "\(directory)/dm/uuid: \(uuid.isEmpty ? "none" : uuid)")
        }
        if pathExists(directory + "/bcache") { return (.blockDeviceMember, "\(directory)/bcache") }
        let slaves = (try? listDirectory(directory + "/slaves")) ?? []
        return slaves.isEmpty ? nil : (.blockDeviceMember, "\(directory)/slaves: \(slaves.joined(separator: " "))")
    }

    private func label(_ name: String, _ directory: String) -> String {
        guard let mapped = try? readText("\(directory)/dm/name", limit: 4096), !mapped.isEmpty else { return name }
        return "\(mapped) (\(name))"
    }

    private static func membership(_ code: BlockerCode) -> String {
        switch code {
        case .raidMember: "is in use by the RAID array"
        case .lvmMember: "is below the logical volume"
        case .multipathMember: "is a path of the multipath device"
        default: "is below the block device"
        }
    }

    private static func remedy(_ code: BlockerCode, upper: String) -> String {
        switch code {
        case .raidMember:
            "Take it out of the array (mdadm --fail, --remove), or stop the array: mdadm --stop /dev/\(upper)"
        case .lvmMember: "Move its volumes away (pvmove), or switch them off: vgchange -an"
        case .multipathMember: "Take the path out, or flush the multipath device: multipath -f"
        default: "Close what is above it, such as with cryptsetup close or dmsetup remove."
        }
    }

    /// The interfaces above a function's own, and routes beside the default one.
    func networkStackBlockers(of address: PCIAddress) -> [Blocker] {
        var found: [Blocker] = []
        for interface in interfaces(of: address) {
            let directory = "\(root.path)/sys/class/net/\(interface)"
            for entry in ((try? listDirectory(directory)) ?? []).sorted() where entry.hasPrefix("upper_") {
                let upper = String(entry.dropFirst("upper_".count))
                let kind = kind(ofInterface: upper).map { "\($0) " } ?? ""
                found.append(
                    Blocker(
                        code: .networkUpper,
                        message: "Network interface \(interface) of \(address) is below \(kind)\(upper).",
                        evidence: "\(directory)/\(entry)",
                        remedy: "Take it out (ip link set \(interface) nomaster), or remove \(upper)."))
            }
            let routes = routes(through: interface)
            if let first = routes.first {
                let named = routes.prefix(5).map(\.destination).joined(separator: ", ")
                found.append(
                    Blocker(
                        code: .networkRoute,
                        message: "Network interface \(interface) of \(address) carries routes to \(named)"
                            + (routes.count > 5 ? " and others." : "."),
                        evidence: first.line, remedy: "Remove them: ip route flush dev \(interface)"))
            }
        }
        return found
    }

    /// Such as bond, bridge, vlan; nil if the kernel does not say.
    private func kind(ofInterface name: String) -> String? {
        ueventValue("DEVTYPE", in: "\(root.path)/sys/class/net/\(name)")
    }

    /// A line of a `uevent` attribute.
    func ueventValue(_ key: String, in directory: String) -> String? {
        let text = (try? readText(directory + "/uevent", limit: 1 << 16)) ?? ""
        return text.split(separator: "\n").first { $0.hasPrefix(key + "=") }.map { String($0.dropFirst(key.count + 1)) }
    }

    /// The routes beside the default one that lead through a gateway, and of an interface without an address all: other
    /// ones come with its address and go with it.
    private func routes(through interface: String) -> [(destination: String, line: String)] {
        let isGateway: UInt32 = 0x2
        let hasAddress = interfaceAddresses.contains { $0.interface == interface }
        var found: [(destination: String, line: String)] = []
        for line in ((try? readText(root.proc("net/route"), limit: 1 << 24)) ?? "").split(separator: "\n").dropFirst() {
            let fields = line.split(whereSeparator: \.isWhitespace)
            guard fields.count > 7, fields[0] == interface, let destination = UInt32(fields[1], radix: 16),
                let flags = UInt32(fields[3], radix: 16), let mask = UInt32(fields[7], radix: 16),
                mask != 0, flags & isGateway != 0 || !hasAddress
            else { continue }
            // What is shown is the address on the wire as this machine reads it.
            let number = UInt32(bigEndian: destination)
            let address = [24, 16, 8, 0].map { "\((number >> $0) & 0xff)" }.joined(separator: ".")
            let text = "/proc/net/route: " + fields.joined(separator: " ")
            found.append(("\(address)/\(mask.nonzeroBitCount)", text))
        }
        let sixth = (try? readText(root.proc("net/ipv6_route"), limit: 1 << 24)) ?? ""
        for line in sixth.split(separator: "\n") {
            let fields = line.split(whereSeparator: \.isWhitespace)
            guard fields.count > 9, fields[9] == interface, let length = UInt8(fields[1], radix: 16), length > 0,
                let flags = UInt32(fields[8], radix: 16), flags & isGateway != 0
            else { continue }
            found.append(("\(fields[0])/\(length)", "/proc/net/ipv6_route: " + fields.joined(separator: " ")))
        }
        return found
    }
}
