public import PCI

/// What an operation would do, and what stands against it.
public struct Plan: Hashable, Sendable {
    /// The steps in order; empty if nothing is to do.
    public var steps: [Step]
    /// What stands against it.
    public var blockers: [Blocker]

    /// One change to the host.
    public struct Step: Hashable, Sendable {
        /// What is done, such as `write`.
        public var action: String
        /// To what, such as a sysfs path.
        public var target: String
        /// With which value.
        public var value: String?

        /// Creates a step.
        public init(action: String, target: String, value: String?) {
            self.action = action
            self.target = target
            self.value = value
        }
    }

    /// Creates a plan.
    public init(steps: [Step], blockers: [Blocker]) {
        self.steps = steps
        self.blockers = blockers
    }
}

/// The stable code of a blocker.
public enum BlockerCode: String, Sendable, CaseIterable, Hashable {
    /// The device carries the root file system. No consent.
    case rootDisk = "root-disk"
    /// A mounted file system is on it.
    case mountedFileSystem = "mounted-file-system"
    /// Swap is on it.
    case swap
    /// A network interface of it has an address.
    case networkAddress = "network-address"
    /// A network interface of it carries a default route.
    case defaultRoute = "default-route"
    /// A network interface of it carries other routes, through a gateway or without an address of its own.
    case networkRoute = "network-route"
    /// A network interface of it is below another, such as a bond, a bridge, a team or a VLAN.
    case networkUpper = "network-upper"
    /// It is a member of an array of MD.
    case raidMember = "raid-member"
    /// It is below a logical volume.
    case lvmMember = "lvm-member"
    /// It is a path of a multipath device.
    case multipathMember = "multipath-member"
    /// It is below another block device, such as an encrypted one.
    case blockDeviceMember = "block-device-member"
    /// A process has a device node of its host driver open.
    case openByProcess = "open-by-process"
    /// It is the boot console's display.
    case console
    /// A framebuffer of the host is in its memory, or made by its driver.
    case framebuffer
    /// Another member of its IOMMU group is bound to a driver that does DMA. Consent names that member, which is then
    /// bound too.
    case siblingInUse = "iommu-group-sibling-in-use"
    /// The firmware demands memory that its IOMMU group has mapped as it is (RMRR). No consent: the kernel refuses.
    case reservedRegion = "reserved-region"
    /// This host's IOMMU does not remap interrupts. No consent: VFIO refuses unless the administrator allows it.
    case interruptsNotRemapped = "interrupts-not-remapped"
    /// The host has no IOMMU, or it is off. No consent.
    case noIOMMU = "no-iommu"
    /// vfio-pci is not loaded and cannot be. No consent.
    case vfioUnavailable = "vfio-pci-unavailable"
    /// It has virtual functions. No consent.
    case virtualFunctions = "virtual-functions"
    /// One of its virtual functions, which would go, is bound by vfiod or worked on. No consent: Restore gives it back.
    case virtualFunctionBound = "virtual-function-bound"
    /// It is no physical function of SR-IOV. No consent.
    case noSRIOV = "no-sr-iov"
    /// It cannot have so many virtual functions. No consent.
    case tooManyVirtualFunctions = "too-many-virtual-functions"
    /// It is bound to vfio-pci, which is not told to make virtual functions (its parameter enable_sriov). No consent: what
    /// a guest may do to the others is the administrator's to say.
    case vfioSRIOVOff = "vfio-sr-iov-off"
    /// It has no driver that could make virtual functions. No consent.
    case noDriver = "no-driver"
    /// It is no ordinary function but a bridge. No consent.
    case bridge
    /// It is bound to VFIO by somebody else. No consent.
    case foreign
    /// A process holds it open. No consent: ending that process is not ours to do.
    case held
    /// It cannot be reset, so another owner would find what the last one left in it.
    case noReset = "no-reset"
    /// A reset of its bus takes along a function that vfiod has not bound. No consent: it would be reset in use.
    case hotResetMember = "hot-reset-member"
    /// It did not come out whole of a reset. No consent: somebody has to look at it and release it.
    case quarantined
    /// It, or another member of its IOMMU group, is given to an owner. No consent: Detach ends that.
    case leased
    /// Another member of its IOMMU group has come to a host driver since it was bound. No consent: the kernel refuses.
    case drift = "iommu-group-drift"

    /// Whether naming the code overrides it.
    public var allowsConsent: Bool {
        switch self {
        case .mountedFileSystem, .swap, .networkAddress, .defaultRoute, .console, .networkRoute, .networkUpper,
            .raidMember, .lvmMember, .multipathMember, .blockDeviceMember, .openByProcess, .framebuffer, .siblingInUse,
            .noReset:
            true
        default: false
        }
    }
}

/// Something that stands against an operation.
public struct Blocker: Hashable, Sendable {
    /// Its stable code.
    public var code: BlockerCode
    /// One sentence.
    public var message: String
    /// Where it was seen, such as a line of /proc/mounts.
    public var evidence: String
    /// What would clear it.
    public var remedy: String
    /// The member of the IOMMU group that it is about; nil if it is about the device that the operation is on.
    public var member: PCIAddress?

    /// Creates a blocker.
    public init(
        code: BlockerCode, message: String, evidence: String, remedy: String, member: PCIAddress? = nil
    ) {
        self.code = code
        self.message = message
        self.evidence = evidence
        self.remedy = remedy
        self.member = member
    }
}
