internal import LinuxSystem
internal import Logging
internal import PCI

// How the inventory comes to be and stays current.
extension PassthroughHost {
    /// Reads all devices, once; later calls wait for that. From then on events do the rest.
    public func takeInventory() async {
        if let firstScan { return await firstScan.value }
        let scan = Task {
            await scanAll()
            followDrift()
            logger.info(
                "\(inventory.devices.count) PCI functions in \(inventory.iommuGroupCount) IOMMU groups")
        }
        firstScan = scan
        await scan.value
        monitor.announce { [weak self] in
            Task { await self?.enterNews() }
        }
    }

    /// Looks at an address without waiting for the device, and enters what is there.
    func look(at address: PCIAddress) async {
        let reader = reader
        enter(await inventoryLane.run { reader.read(address) }, driverIsBound: false)
    }

    /// Enters a reading. `driverIsBound`: see ``Inventory/enter(_:driverIsBound:isOurs:)``.
    func enter(_ reading: DeviceReading, driverIsBound: Bool, silently: Bool = false) {
        let address = reading.address
        let changes = inventory.enter(reading, driverIsBound: driverIsBound, isOurs: isOurs(address))
        if !silently { tell(changes) }
        closeIfGone(address)
    }

    /// Closes the record of a device that is not there any more: there is nothing to put back.
    func closeIfGone(_ address: PCIAddress) {
        guard inventory[address]?.isGone ?? false, running[address] == nil, let record = records[address] else {
            return
        }
        let log = log
        do throws(PassthroughError) {
            _ = try begin(PassthroughHost.closing, on: address) { operation in
                let step = OperationStep.forget
                operation.begin(step.rawValue, "forgetting \(address)")
                guard
                    let failure = operation.perform(
                        step, on: address, { () throws(KernelError) in try log.remove(address) })
                else { return (nil, nil) }
                let hint = "The next start of vfiod closes it."
                return (record, .kernel(address, step: step.rawValue, failure, hint: hint))
            }
            logger.notice(
                "\(address) was removed from the host while \(record.phase.rawValue); its record is closed",
                metadata: ["event": "device-gone", "device": "\(address)"])
        } catch {
            logger.error("the record of \(address), which is gone, cannot be closed: \(error)")
        }
    }

    private func isOurs(_ address: PCIAddress) -> Bool { records[address] != nil || running[address] != nil }

    /// Enters what the monitor has heard, until there is no more.
    private func enterNews() async {
        // Whoever is at it takes what came meanwhile too.
        if isEnteringNews { return }
        isEnteringNews = true
        defer { isEnteringNews = false }
        while let news = monitor.take() {
            // What is at the address of a removed device by now is another one, however much it looks the same.
            for address in news.addresses where news.events[address]?.wasRemoved ?? false {
                tell(inventory.remove(address, isOurs: isOurs(address)))
                closeIfGone(address)
            }
            if news.isIncomplete {
                await scanAll()
                continue
            }
            if news.slotsChanged { await readSlots() }
            let reader = reader
            for address in news.addresses {
                let isBound = news.events[address]?.isBound ?? false
                enter(await inventoryLane.run { reader.read(address) }, driverIsBound: isBound)
                readConfiguration(of: address)
            }
        }
    }

    private func readSlots() async {
        let reader = reader
        inventory.slots = await inventoryLane.run { reader.slots() }
    }

    /// Reads every device, and looks after those that are known and not there any more.
    private func scanAll() async {
        await readSlots()
        let reader = reader
        let known = Set(inventory.addresses)
        let readings = await inventoryLane.run { known.union(reader.addresses()).sorted().map { reader.read($0) } }
        let isFirst = known.isEmpty
        for reading in readings { enter(reading, driverIsBound: true, silently: isFirst) }
        // A device that does not answer holds up its share of these, until the deadline.
        let unread = inventory.devices.values.filter { $0.configuration == nil && !$0.isGone }.map(\.address)
        await withTaskGroup(of: Void.self) { group in
            for (index, address) in unread.enumerated() {
                if index >= 16 { await group.next() }
                group.addTask { _ = await self.live([.config], of: address) }
            }
        }
    }
}

// What may wait for a device.
extension PassthroughHost {
    /// Reads what may wait for the device, for as long as the deadline allows. What did not come in time is named as
    /// unread; it is entered when it comes, and until then no second reading waits beside it.
    func live(_ parts: Set<LiveState.Part>, of address: PCIAddress) async -> LiveState {
        while let earlier = liveReadings[address] {
            if overdue.contains(address) { return earlier.state }
            guard await earlier.end.value(within: configuration.readDeadline, on: clock) != nil else {
                if liveReadings[address] === earlier { overdue.insert(address) }
                return earlier.state
            }
        }
        guard let reading = begin(parts, of: address) else { return LiveState() }
        if await reading.end.value(within: configuration.readDeadline, on: clock) == nil,
            liveReadings[address] === reading
        {
            overdue.insert(address)
        }
        return reading.state
    }

    /// Sees to it that the configuration space of a device is read, unless it was.
    private func readConfiguration(of address: PCIAddress) {
        guard let device = inventory[address], !device.isGone, device.configuration == nil else { return }
        // A reading that is under way brings it too, or begins this one when it ends.
        if liveReadings[address] == nil { _ = begin([.config], of: address) }
    }

    private func begin(_ parts: Set<LiveState.Part>, of address: PCIAddress) -> LiveReading? {
        let lane: BlockingLane
        do throws(KernelError) {
            lane = try BlockingLane(name: address.description)
        } catch {
            logger.error("\(address) cannot be read: \(error)")
            return nil
        }
        let reading = LiveReading(parts)
        liveReadings[address] = reading
        let (sysfs, writer, arrival) = (sysfs, writer, inventory[address]?.arrival)
        Task {
            await lane.run { reading.run(address, sysfs, writer) }
            liveReadings[address] = nil
            overdue.remove(address)
            if let arrival, let found = reading.configuration {
                if inventory.enter(found, of: address, arrival: arrival) { tell(.changed, address) }
            }
            // Another device may have come to the address meanwhile.
            if inventory[address]?.arrival != arrival { readConfiguration(of: address) }
            reading.end.resolve(())
        }
        return reading
    }
}
