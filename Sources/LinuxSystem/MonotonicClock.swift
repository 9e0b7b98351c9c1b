internal import CLinux
internal import Glibc

/// Nanoseconds since an arbitrary start, from CLOCK_MONOTONIC: comparable between processes of one host.
public func monotonicNanoseconds() -> UInt64 {
    var time = timespec()
    // SAFETY: the kernel fills `time`; CLOCK_MONOTONIC cannot fail.
    _ = unsafe clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec)
}

/// The time of ``monotonicNanoseconds()`` at which `duration` from now has passed; its largest value where that is too
/// far away to be told.
public func monotonicNanoseconds(after duration: Duration) -> UInt64 {
    let (seconds, attoseconds) = duration.components
    let whole = UInt64(clamping: seconds).multipliedReportingOverflow(by: 1_000_000_000)
    let later = whole.partialValue.addingReportingOverflow(UInt64(clamping: attoseconds / 1_000_000_000))
    let deadline = later.partialValue.addingReportingOverflow(monotonicNanoseconds())
    return whole.overflow || later.overflow || deadline.overflow ? .max : deadline.partialValue
}

/// Seconds since the epoch, from CLOCK_REALTIME: for people, as it may jump.
public func epochSeconds() -> Int {
    Int(time(nil))
}

/// Gives the processor away for about 50 microseconds.
public func sleepBriefly() {
    var time = timespec(tv_sec: 0, tv_nsec: 50_000)
    // SAFETY: the kernel reads `time`; a signal that cuts the sleep short is of no consequence.
    _ = unsafe nanosleep(&time, nil)
}
