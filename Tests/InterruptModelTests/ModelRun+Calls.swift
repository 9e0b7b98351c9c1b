import InterruptSources

// What a step asks of a group.
extension ModelRun {
    func call(of operation: Operation) -> (Place, GroupModel.Call)? {
        switch operation {
        case .enable(let place, let data, let masked, let size), .switchTo(let place?, let data, let masked, let size):
            return (place, .enable(data.map { configurations(place, $0, masked, size) }))
        case .enlarge(let place, let data, let masked, let size):
            return (place, .enlarge(configurations(place, data, masked, size)))
        case .disable(let place): return (place, .disable)
        case .update(let place, let index, let count, let data, let masked):
            let range = range(place, index, count)
            let given = range.map { index in
                let message = place.type == .legacy ? nil : message(data + UInt32(max(index, 0)))
                return InterruptConfiguration(message: message, startsMasked: masked)
            }
            return (place, .update(range.lowerBound, given))
        case .mask(let place, let index, let count, let releasing):
            return (place, .mask(range(place, index, count), releasing: releasing))
        case .unmask(let place, let index, let count): return (place, .unmask(range(place, index, count)))
        case .trigger(let place, let index): return (place, .trigger(wrapped(index, place)))
        case .handOut(let place, let index): return (place, .handOut(wrapped(index, place)))
        case .handIn(let place, let index, let count, let isForeign, let counted):
            // Where all notifiers are somebody else's, what they count is not for us to see.
            let isKept = counted && (!bench.variant.hasSink || place.type == .legacy)
            return isKept ? nil : (place, .handIn(range(place, index, count), isForeign: isForeign))
        case .handInResample(let place, _): return (place, .handInResample)
        case .destroy(let place): return (place, .destroy)
        case .wrong(let place, let mistake): return (place, call(of: mistake, place))
        default: return nil
        }
    }

    private func call(of mistake: Operation.Mistake, _ place: Place) -> GroupModel.Call {
        let isLine = place.type == .legacy
        let right = InterruptConfiguration(message: isLine ? nil : message(70))
        let wrong = InterruptConfiguration(message: isLine ? message(70) : nil)
        let count = count(place)
        switch mistake {
        case .tooManyConfigurations: return .enable(Array(repeating: right, count: count + 1))
        case .noConfigurations: return .enable([])
        case .wrongKind: return .enable(Array(repeating: wrong, count: count))
        case .wrongKindAtUpdate: return .update(0, [wrong])
        case .differentMessages:
            var given = Array(repeating: right, count: count)
            given[count - 1].message?.address += 0x1000
            return .enable(given)
        case .refusedAddress:
            return .update(0, [InterruptConfiguration(message: isLine ? nil : message(70, high: 0x101))])
        }
    }

    private func configurations(
        _ place: Place, _ data: UInt32, _ masked: UInt64?, _ size: Int
    ) -> [InterruptConfiguration] {
        let count = place.type == .msi ? min(count(place), 1 << min(max(size, 0), 5)) : count(place)
        return (0..<count).map { index in
            InterruptConfiguration(
                message: place.type == .legacy ? nil : message(data + UInt32(index)),
                startsMasked: masked.map { $0 >> UInt64(index % 64) & 1 == 1 })
        }
    }

    private func message(_ data: UInt32, high: UInt64 = 0) -> InterruptMessage {
        InterruptMessage(address: high << 32 | 0xfee0_0000, data: data)
    }

    private func count(_ place: Place) -> Int { models[place]?.vectors.count ?? 1 }

    private func wrapped(_ index: Int, _ place: Place) -> Int {
        index == Step.beyond ? count(place) : wrap(index, count(place))
    }

    func wrap(_ index: Int, _ count: Int) -> Int { index < 0 ? -1 : index % count }

    private func range(_ place: Place, _ index: Int, _ extent: Int) -> Range<Int> {
        let first = wrapped(index, place)
        // A range that leaves the group is refused; one that is cut at its end is the rest of it.
        let end = first >= 0 && first < count(place) ? min(first + extent, count(place)) : first + max(extent, 1)
        return first..<end
    }
}
