/// The PCI Express link above a function, as trained now and at its best.
public struct PCILink: Hashable, Sendable {
    /// As the kernel says it, such as `8.0 GT/s PCIe`; `Unknown` where no link is trained.
    public let speed: String
    /// Lanes; 0 where no link is trained.
    public let width: Int
    /// The fastest it can be.
    public let maximumSpeed: String
    /// The most lanes it can have.
    public let maximumWidth: Int

    /// Creates a link.
    public init(speed: String, width: Int, maximumSpeed: String, maximumWidth: Int) {
        (self.speed, self.width) = (speed, width)
        (self.maximumSpeed, self.maximumWidth) = (maximumSpeed, maximumWidth)
    }
}
