/// Where a virtual CPU starts in real mode. A segment's first byte is at 16 times its selector.
public struct RealModeState: Hashable, Sendable {
    /// CS.
    public var codeSegment: UInt16
    /// DS.
    public var dataSegment: UInt16
    /// ES.
    public var extraSegment: UInt16
    /// SS.
    public var stackSegment: UInt16
    /// IP.
    public var instructionPointer: UInt16
    /// SP.
    public var stackPointer: UInt16
    /// The IA32_APIC_BASE register (Intel SDM volume 3, section 11.4.4).
    public var localAPICBase: UInt64

    /// Creates a state.
    public init(
        codeSegment: UInt16, dataSegment: UInt16, extraSegment: UInt16, stackSegment: UInt16,
        instructionPointer: UInt16, stackPointer: UInt16, localAPICBase: UInt64
    ) {
        self.codeSegment = codeSegment
        self.dataSegment = dataSegment
        self.extraSegment = extraSegment
        self.stackSegment = stackSegment
        self.instructionPointer = instructionPointer
        self.stackPointer = stackPointer
        self.localAPICBase = localAPICBase
    }
}
