import FoundationEssentials
import LinuxSystem
import PCI
import SystemPackage
import TestSupport
import Testing
import VFIO

@Suite("VF tokens") struct VFIOTokenTests {
    @Test("Each is another UUID of version 4, and is read as it is written") func made() throws {
        let tokens = (0..<100).map { _ in VFIOToken() }
        #expect(Set(tokens).count == 100)
        for token in tokens {
            #expect(UUID(uuidString: token.description) != nil, "\(token)")
            let bytes = Array(token.description.utf8)
            #expect(bytes[14] == UInt8(ascii: "4") && "89ab".utf8.contains(bytes[19]), "\(token)")
            #expect(VFIOToken(token.description) == token)
            #expect(try JSONDecoder().decode(VFIOToken.self, from: try JSONEncoder().encode(token)) == token)
        }
        let text = "6B2F2C7E-0000-4000-8000-00000000000F"
        #expect(VFIOToken(text)?.description == text.lowercased())
    }

    @Test(
        "Anything else is none: it goes into a name that the kernel takes apart at spaces",
        arguments: [
            "", "6b2f2c7e", "6b2f2c7e-0000-4000-8000-00000000000g", "6b2f2c7e-0000-4000-8000-00000000000",
            "6b2f2c7e-0000-4000-8000-0000000000000", "6b2f2c7e00004000800000000000000f",
            "6b2f2c7e-0000-4000-8000-00000000000 ", "-6b2f2c7e-0000-4000-8000-0000000000f",
        ])
    func unfit(text: String) { #expect(VFIOToken(text) == nil) }

    @Test("A virtual function opens with the token that its physical function was opened with, and with no other")
    func rules() throws {
        let (kernel, vfio) = (FakeKernel(), FakeVFIO())
        let physical = try #require(PCIAddress("0000:01:00.0"))
        let function = try #require(PCIAddress("0000:01:10.0"))
        let other = try #require(PCIAddress("0000:02:00.0"))
        for (group, address) in [physical, function, other].enumerated() {
            vfio.add(FakeVFIODevice("\(address)", .init(msixCount: 1)), iommuGroup: group)
        }
        vfio.makeVirtual("\(function)", of: "\(physical)")
        kernel.install(vfio, at: "/dev/vfio/")
        func open(_ address: PCIAddress, _ group: Int, _ token: VFIOToken?) -> Errno? {
            do throws(KernelError) {
                _ = try VFIODevice.open(address, iommuGroup: group, token: token, kernel: kernel)
                return nil
            } catch {
                return error.errno
            }
        }
        let token = VFIOToken()
        #expect(open(function, 1, nil) == .permissionDenied)
        #expect(open(function, 1, token) == .permissionDenied)
        #expect(open(physical, 0, token) == nil)
        #expect(open(function, 1, VFIOToken()) == .permissionDenied)
        #expect(open(function, 1, token) == nil)
        #expect(open(other, 2, token) == .invalidArgument)
        #expect(kernel.openFileCount == 0)
    }
}
