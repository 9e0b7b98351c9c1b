public import LinuxSystem

/// The sockets that the service manager opened for this process (sd_listen_fds(3)).
public struct ListenDescriptors: ~Copyable {
    /// The first descriptor that the manager passes (SD_LISTEN_FDS_START).
    public static let first: CInt = 3

    /// Why the environment's promise does not hold.
    public struct Invalid: Error, Hashable, Sendable, CustomStringConvertible {
        /// What is wrong.
        public let description: String
    }

    private var descriptors: [(name: String, descriptor: SharedDescriptor)] = []

    /// Takes over the descriptors that `$LISTEN_FDS`, `$LISTEN_PID` and `$LISTEN_FDNAMES` announce, and makes them
    /// close-on-exec. None if the variables are absent or meant for another process. To be called once, because each
    /// call would own them again. Throws where one is not open.
    public init(
        count: String?, processID: String?, names: String?, ownProcessID: Int32, first: CInt = ListenDescriptors.first
    ) throws(Invalid) {
        guard let count, let processID, Int32(processID) == ownProcessID else { return }
        guard let count = Int32(count), (0...1024).contains(count) else {
            throw Invalid(description: "LISTEN_FDS is \(count), which is no number of descriptors")
        }
        let names = names?.split(separator: ":", omittingEmptySubsequences: false).map(String.init) ?? []
        for index in 0..<count {
            let raw = first + index
            do throws(KernelError) {
                // Looked at before it is owned: a number that is not open would trap when it is closed.
                _ = try FileIdentity(of: raw)
                let descriptor = OwnedDescriptor(adopting: raw)
                try descriptor.setCloseOnExec(true)
                let name = Int(index) < names.count ? names[Int(index)] : "unknown"
                descriptors.append((name, SharedDescriptor(descriptor)))
            } catch {
                throw Invalid(description: "descriptor \(raw) was announced by LISTEN_FDS: \(error)")
            }
        }
    }

    /// The descriptors in order, with the names of `FileDescriptorName=`.
    public consuming func take() -> [(name: String, descriptor: SharedDescriptor)] {
        descriptors
    }
}
