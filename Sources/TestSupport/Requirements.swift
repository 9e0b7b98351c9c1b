internal import Glibc
internal import LinuxSystem

/// What a test needs of the machine it runs on, for `.enabled(if:)`.
public enum Requirements {
    /// /dev/kvm can be opened: interrupts can be raised into real guests.
    public static let kvm = unsafe access("/dev/kvm", R_OK | W_OK) == 0

    /// This is the lab: there is an IOMMU, VFIO and devices to give away.
    public static let vfioLab = unsafe getenv("VFIOD_LAB").map { unsafe String(cString: $0) } == "1"
}

/// Looks again and again until `condition` holds. Returns false when it does not within `limit`, which only a failing
/// test waits for.
public func eventually(within limit: Duration = .seconds(20), _ condition: () -> Bool) -> Bool {
    let deadline = monotonicNanoseconds(after: limit)
    var looks = 0
    while !condition() {
        if monotonicNanoseconds() > deadline { return false }
        looks += 1
        // A thread that only yields keeps those that it waits for from running where processors are few.
        if looks < 100 { sched_yield() } else { sleepBriefly() }
    }
    return true
}
