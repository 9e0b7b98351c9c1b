import LinuxSystem
import SelfTestProtocol

/// The self-test guest as a child process of its own executable, which gives up every right but KVM's.
struct SelfTestGuestExecutable: SelfTestGuestLauncher {
    /// Its absolute path.
    let path: String

    func launch(
        _ delivery: GuestDelivery, slots: Int, fault: GuestFault?
    ) throws(GuestProtocolError) -> any SelfTestGuestPort {
        do {
            let counters = try GuestCounters(slots: slots)
            let pair = try UnixSocket.pair(.packets)
            let process = try ChildProcess(
                executable: path, arguments: [], descriptors: [pair.second.rawValue])
            // Only our end may stay open here, or the guest's death would not show.
            let ours = pair.take { first, _ in UnixSocket(adopting: first) }
            let guest = SelfTestGuestChild(process, GuestConnection(ours), counters)
            do throws(GuestProtocolError) {
                try guest.setUp(delivery, fault: fault)
            } catch {
                // Waited for, so that it does not stay as a zombie.
                guest.end()
                throw error
            }
            return guest
        } catch let error as GuestProtocolError {
            throw error
        } catch let error as KernelError {
            throw .kernel(error)
        } catch {
            throw .malformed("\(error)")
        }
    }
}

/// A self-test guest that runs in a child process.
final class SelfTestGuestChild: SelfTestGuestPort {
    private static let secondsToEnd = 5

    private let process: ChildProcess
    private let connection: GuestConnection
    private let counters: GuestCounters

    init(_ process: ChildProcess, _ connection: consuming GuestConnection, _ counters: consuming GuestCounters) {
        self.process = process
        self.connection = connection
        self.counters = counters
    }

    func setUp(_ delivery: GuestDelivery, fault: GuestFault?) throws(GuestProtocolError) {
        try connection.setUp(delivery, counters: counters, fault: fault)
    }

    func connect(_ notifiers: [EventFD]) throws(GuestProtocolError) { try connection.connect(notifiers) }

    func connectLevel(trigger: EventFD, resample: EventFD) throws(GuestProtocolError) {
        try connection.connectLevel(trigger: trigger, resample: resample)
    }

    func disconnect(count: Int) throws(GuestProtocolError) { try connection.disconnect(count: count) }

    func count(_ slot: Int) -> UInt32 { counters.count(ofSlot: slot) }

    func strays() -> Int { counters.strays() }

    func exceptions() -> Int { counters.exceptions() }

    func acknowledge(_ count: UInt32) { counters.acknowledge(count) }

    func completed() -> UInt32 { counters.completed() }

    func end() {
        // A guest that cannot be told, or does not go, is killed: it holds nothing that would need an orderly end.
        if (try? connection.finish()) != nil,
            let ended = try? process.wait(milliseconds: SelfTestGuestChild.secondsToEnd * 1000), ended == .status(0)
        {
            return
        }
        process.kill()
        _ = try? process.wait(milliseconds: SelfTestGuestChild.secondsToEnd * 1000)
    }
}
