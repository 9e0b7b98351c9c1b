internal import CLinux
internal import Glibc

extension UnixSocket {
    /// Waits until something can be received, the other side's end included (poll(2)). Returns false when `deadline`,
    /// a time of ``monotonicNanoseconds()``, passes first.
    public func waitReadable(until deadline: UInt64) throws(KernelError) -> Bool {
        let raw = descriptor.rawValue
        while true {
            let now = monotonicNanoseconds()
            let left = deadline > now ? deadline - now : 0
            // Rounded up, so that the last wait does not end early and spin.
            let milliseconds = CInt(clamping: left / 1_000_000 + (left % 1_000_000 == 0 ? 0 : 1))
            var entry = pollfd(fd: raw, events: Int16(POLLIN), revents: 0)
            // SAFETY: one entry, alive for the call.
            let ready = try checked("poll") { unsafe poll(&entry, 1, milliseconds) }
            if ready > 0 { return true }
            if monotonicNanoseconds() >= deadline { return false }
        }
    }
}
