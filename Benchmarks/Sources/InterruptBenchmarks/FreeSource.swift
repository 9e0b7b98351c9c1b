internal import InterruptSources
internal import LinuxSystem

/// A source without a device, whose calls cost nothing: what is left is KVM's half.
struct FreeSource: InterruptSource {
    let type: InterruptType
    let count: Int
    var growsWhileEnabled: Bool { type == .msix }

    func enable(_ notifiers: [EventFD?]) {}
    func connect(first: Int, _ notifiers: [EventFD?]) {}
    func disable() {}
    func trigger(first: Int, count: Int) {}
    func setUnmaskNotifier(_ notifier: EventFD?) {}
    func setLineMasked(_ masked: Bool) {}
    func isLineAsserted() -> Bool { false }
}
