/// What level-triggered interrupts must look like from outside: devices that assert lines, a guest that takes an
/// interrupt once until it ends it.
struct LineModel {
    /// The lines whose devices assert them.
    var asserted: Set<Place> = []
    /// The lines of which the guest has an interrupt that it has not ended. Of a shared pin, the first line stands for all.
    var inService: Set<Place> = []
    /// The masked lines that were triggered.
    var triggered: Set<Place> = []
    /// The masked lines whose notifiers somebody else has written.
    var maybeTriggered: Set<Place> = []

    /// What may have come of one step for the lines of one pin.
    struct Change {
        var pin: [Place]
        /// Lines that were asserted and not masked before the step, and after it.
        var before: Set<Place>
        var after: Set<Place>
        /// Lines that were or are enabled and not masked.
        var open: Set<Place>
        /// Lines that were raised without being asserted.
        var raised: Set<Place>
        /// Lines that may have been.
        var maybeRaised: Set<Place>
        var isEnd: Bool
        /// Whether events or refusals came in between, so that less can be told.
        var isDisturbed: Bool
        /// Whether undo was refused too, so that a level may wait for the next call.
        var isWeak: Bool
    }

    /// Takes the arrivals at one pin; throws what should not be.
    mutating func settle(_ change: Change, arrivals: Int, isShared: Bool) throws {
        guard let key = change.pin.first else { return }
        let wasInService = inService.contains(key) && !change.isEnd
        // Without a VM of ours the guest's interrupt controller is us: what comes while it is in service waits for the end.
        let count = isShared ? arrivals : (wasInService ? 0 : min(arrivals, 1))
        if count > (wasInService ? 0 : 1) { throw Difference("\(count) levels arrived, one more than there can be") }
        let appeared = !change.after.subtracting(change.isEnd ? [] : change.before).isEmpty
        let isRaised = !change.raised.isEmpty || !change.maybeRaised.isEmpty
        let isCaused = appeared || isRaised || change.isDisturbed && !change.open.isEmpty
        if count == 1 && !isCaused { throw Difference("a level arrived that nobody raised") }
        if count == 1 && change.open.isEmpty { throw Difference("a level arrived while masked or off") }
        if wasInService || count == 1 { inService.insert(key) } else { inService.remove(key) }
        if change.isWeak || inService.contains(key) { return }
        if !change.after.isEmpty { throw Difference("a level is lost: \(change.after)") }
        if !change.raised.isEmpty && !change.isDisturbed { throw Difference("a level is lost: \(change.raised)") }
    }
}
