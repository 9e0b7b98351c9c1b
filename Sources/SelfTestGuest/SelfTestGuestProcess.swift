internal import KVM
internal import LinuxSystem
internal import SelfTestProtocol
internal import SystemPackage

/// The self-test guest as a process: vfiod starts it with one end of a packet socket as descriptor 3.
///
/// It opens /dev/kvm, gives up every other right, and then does what the socket asks until vfiod says `finish` or is
/// gone. It has no access to any device: interrupts reach it as eventfds.
public enum SelfTestGuestProcess {
    /// The number of the socket that vfiod hands over.
    public static let socketDescriptor: CInt = 3

    // The user and group `nobody` of every distribution (the kernel's overflowuid, Documentation/admin-guide/sysctl).
    private static let nobody: UInt32 = 65534

    /// Runs the process. Returns its exit status: 0, or 1 when vfiod could not be understood or answered.
    public static func main() -> Int32 {
        let system = openKVM()
        let channel = GuestChannel(UnixSocket(adopting: OwnedDescriptor(adopting: socketDescriptor)))
        var service = GuestService(channel, system: system)
        do {
            try service.run()
            return 0
        } catch {
            return 1
        }
    }

    private static func openKVM() -> Result<KVMSystem, GuestFailure> {
        // Opened while we may; used, and anything received, only once there is no other right left.
        let opened = Result { () throws(KernelError) in try KVMSystem(kernel: LiveKernel()) }
        do throws(KernelError) {
            try raiseDescriptorLimit()
            // What runs a guest must not write into vfiod's log.
            try discardOutput()
            try dropPrivileges(user: nobody, group: nobody)
        } catch {
            return .failure(GuestFailure(step: "give up rights", error))
        }
        return opened.mapError { error in
            GuestFailure(step: "open KVM", error, hint: hint(for: error.errno))
        }
    }

    private static func hint(for errno: Errno) -> String {
        switch errno {
        case .noSuchFileOrDirectory, .noSuchAddressOrDevice, .operationNotSupportedByDevice:
            "load kvm_intel or kvm_amd, and turn on virtualization in the host's firmware"
        case .permissionDenied, .notPermitted:
            "vfiod's unit must allow /dev/kvm (DeviceAllow=/dev/kvm rw)"
        case .notSupported: "this kernel's KVM is older than Linux 2.6.22"
        default: ""
        }
    }
}
