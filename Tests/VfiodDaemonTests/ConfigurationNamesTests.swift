import PCI
import Passthrough
import Testing
import VfiodDaemon

@Suite("Names in the configuration")
struct ConfigurationNamesTests {
    private func read(_ text: String) throws(ConfigurationError) -> NamedDevices {
        try Configuration(text: text, path: "vfiod.toml").names
    }

    @Test("devices with all their parts, and pools, which may stand before the devices they name")
    func everything() throws {
        let names = try read(
            """
            [[pool]]
            name = "nics"
            devices = ["nic0", "id=8086:10CA", "00:13.0"]
            [[device]]
            name = "nic0"
            address = "00:11.0"
            vendor = "8086"
            device = "10D3"
            subsystem-vendor = "1af4"
            subsystem-device = "1100"
            serial = "52-54-00-FF-FF-12-34-56"
            path = "00:1c.0/00.0"
            slot = "4, left"
            [socket]
            connections = 8
            [[device]]
            name = "edu"
            slot = "1"
            """)
        #expect(names.devices.map(\.name) == ["nic0", "edu"])
        #expect(
            names.device("nic0")?.identity.description
                == "address=0000:00:11.0,path=0000:00:1c.0/00.0,serial=52-54-00-ff-ff-12-34-56,slot=4, left,id=8086:10d3,"
                + "subsystem=1af4:1100")
        #expect(names.device("edu")?.identity.description == "slot=1")
        #expect(names.pools.map { $0.members.map(\.description) } == [["nic0", "id=8086:10ca", "0000:00:13.0"]])
    }

    @Test("what is asked of devices, and nothing where nothing stands")
    func provisions() throws {
        let names = try read(
            """
            [[device]]
            name = "uplink"
            serial = "52-54-00-ff-ff-12-34-56"
            bind = true
            claim-at-boot = true
            consent = ["network-address", "iommu-group-sibling-in-use=03:03.0"]
            [[device]]
            name = "ports"
            path = "00:1c.0/00.0"
            virtual-functions = 0
            [[device]]
            name = "other"
            slot = "1"
            bind = false
            """)
        let sibling = try #require(Consent("iommu-group-sibling-in-use=0000:03:03.0"))
        #expect(
            names.device("uplink")?.provision
                == Provision(isBound: true, isClaimedAtBoot: true, consent: [Consent(.networkAddress), sibling]))
        #expect(names.device("ports")?.provision == Provision(virtualFunctions: 0))
        #expect(names.device("other")?.provision == Provision())
    }

    private static let device = "[[device]]\nname = \"a\"\nslot = \"1\"\n"

    @Test(
        "what is wrong is said with its table, its number among those, its key, and its line",
        arguments: [
            ("[[device]]\nslot = \"1\"", 1, "[[device]] number 1: it has no name"),
            ("[[device]]\nname = 7", 2, "name must be a text in quotes"),
            ("[[device]]\nname = \"\"", 2, "name must be 1 to 64 letters"),
            ("[[device]]\nname = \"a b\"\nslot = \"1\"", 2, "name must be"),
            ("[[device]]\nname = \"00-10.0\"\nslot = \"1\"", 2, "look like an address"),
            ("[[device]]\nname = \"00:10.0\"\nslot = \"1\"", 2, "name must be"),
            ("[[device]]\nname = \"a\"", 1, "it says nothing of the device"),
            (device + device, 5, "[[device]] number 2: name is a, as that of another table is"),
            (device + "[[pool]]\nname = \"a\"\ndevices = [\"a\"]", 5, "[[pool]] number 1: name is a"),
            (device + "[[device]]\nname = \"b\"\nserail = \"x\"", 6, "serail is no key; did you mean serial?"),
            (device + "[[device]]\nname = \"b\"\nserial = \"x\"", 6, "[[device]] number 2: serial must have the form"),
            (device + "address = \"00:20.0\"", 4, "address must have the form"),
            (device + "bind = 1", 4, "bind must be true or false"),
            (device + "claim-at-boot = true", 4, "claim-at-boot goes with bind = true only"),
            (device + "bind = true\nclaim-at-boot = true", 5, "claim-at-boot goes not with slot"),
            (device + "virtual-functions = -1", 4, "virtual-functions must be a whole number from 0 to 65535"),
            (device + "virtual-functions = 65536", 4, "virtual-functions must be"),
            (device + "consent = \"swap\"", 4, "consent must be a list of blockers"),
            (device + "consent = [\"root-disk\"]", 4, "no blocker which consent overrides"),
            (device + "path = \"1c.0\"", 4, "path must have the form"),
            (device + "path = [\"00:1c.0\"]", 4, "path must be a text"),
            (device + "vendor = \"8086\"", 4, "vendor stands alone; vendor and device are given together"),
            (device + "subsystem-device = \"8086\"", 4, "subsystem-device stands alone"),
            (device + "vendor = \"0x8086\"\ndevice = \"10d3\"", 4, "vendor must be four hexadecimal digits"),
            (device + "vendor = \"8086\"\ndevice = 4307", 5, "device must be a text"),
            ("[[device]]\nname = \"a\"\nslot = \"\"", 3, "slot must have the form"),
            ("[device]\nname = \"a\"", 1, "device must be tables, each below a line [[device]]"),
            ("device = \"a\"", 1, "device must be tables"), ("device = [1]", 1, "device 1 is no table"),
            ("[[pool]]\nname = \"p\"", 1, "devices must be a list"),
            ("[[pool]]\nname = \"p\"\ndevices = []", 3, "devices must be a list"),
            ("[[pool]]\nname = \"p\"\ndevices = \"a\"", 3, "devices must be a list"),
            (device + "[[pool]]\nname = \"p\"\ndevices = [\"a\", 1]", 6, "devices has an element"),
            (device + "[[pool]]\nname = \"p\"\ndevices = [\"id=8086\"]", 6, "devices has an element"),
            (device + "[[pool]]\nname = \"p\"\ndevices = [\"b\"]", 6, "has b, which is the name of no [[device]]"),
            (device + "[[pool]]\nname = \"p\"\ndevices = [\"p\"]", 6, "has p, which is the name of no [[device]]"),
            (device + "[[pool]]\nname = \"p\"\ndevices = [\"a\", \"a\"]", 6, "devices has a twice"),
            (device + "[[pool]]\nname = \"p\"\ndevice = [\"a\"]", 6, "device is no key; did you mean devices?"),
            ("[[devices]]\nname = \"a\"", 1, "no table [devices]; did you mean device?"),
        ])
    func wrong(text: String, line: Int, reason: String) {
        let error = #expect(throws: ConfigurationError.self) { _ = try read(text) }
        #expect(error?.line == line)
        #expect(error?.reason.contains(reason) == true, "\(String(describing: error))")
    }
}
