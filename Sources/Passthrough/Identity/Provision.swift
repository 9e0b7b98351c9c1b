/// What the configuration asks of a device, and Apply brings about.
public struct Provision: Hashable, Sendable {
    /// It is bound to vfio-pci.
    public var isBound: Bool
    /// It is kept from its own driver when the host boots.
    public var isClaimedAtBoot: Bool
    /// How many virtual functions it has; nil if that is nothing to us.
    public var virtualFunctions: Int?
    /// The blockers that are overridden.
    public var consent: Set<Consent>
    /// Whether a VMM may map its registers; nil for what holds for all (``LeaseLimits/mapsBARs``). Apply has nothing to do
    /// for it.
    public var mapsBARs: Bool?

    /// Creates a provision; as it is, one that asks for nothing.
    public init(
        isBound: Bool = false, isClaimedAtBoot: Bool = false, virtualFunctions: Int? = nil, consent: Set<Consent> = [],
        mapsBARs: Bool? = nil
    ) {
        self.isBound = isBound
        self.isClaimedAtBoot = isClaimedAtBoot
        self.virtualFunctions = virtualFunctions
        self.consent = consent
        self.mapsBARs = mapsBARs
    }
}
