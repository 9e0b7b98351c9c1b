internal import CLinux
internal import Glibc

/// Nanoseconds since an arbitrary start, from CLOCK_MONOTONIC: comparable between processes of one host.
public func monotonicNanoseconds() -> UInt64 {
    var time = timespec()
    // SAFETY: the kernel fills `time`; CLOCK_MONOTONIC cannot fail.
    _ = unsafe clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec)
}

/// Seconds since the epoch, from CLOCK_REALTIME: for people, as it may jump.
public func epochSeconds() -> Int {
    Int(time(nil))
}
