internal import ArgumentParser
internal import FoundationEssentials
internal import LinuxSystem
internal import Varlink
internal import VfiodAPI

/// What every verb takes.
struct CommonOptions: ParsableArguments {
    @Option(help: ArgumentHelp("The socket of vfiod.", valueName: "path"))
    var socket = VfiodInterface.defaultSocketPath

    @Flag(help: "Print the reply as JSON, as it goes over the wire.")
    var json = false

    /// Calls a method. Where `progress` says what to print of each reply, replies stream; the last is returned.
    func call<Method: VfiodMethod>(
        _ method: Method.Type, _ parameters: Method.Parameters, progress: ((Method.Reply) -> String?)? = nil
    ) throws -> Method.Reply {
        try call(Method.fullName, parameters, as: Method.Reply.self, progress: progress)
    }

    /// Calls a method by its full name.
    func call<Reply: Decodable>(
        _ method: String, _ parameters: some VarlinkParameters, as type: Reply.Type,
        progress: ((Reply) -> String?)? = nil
    ) throws -> Reply {
        try connected { (client) throws(VarlinkClientError) in
            guard let progress else { return try client.call(method, parameters, as: type) }
            var last: Reply?
            try client.stream(method, parameters, as: type) { reply in
                if let line = progress(reply) { writeToStandardError("\(line)\n") }
                last = reply
            }
            guard let last else { throw .closed }
            return last
        }
    }

    /// Calls a method that goes on telling, and prints each reply in a line: as JSON if that was asked for, else `text`.
    func follow<Method: VfiodMethod>(
        _ method: Method.Type, _ parameters: Method.Parameters, text: (Method.Reply) -> String
    ) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        try connected { (client) throws(VarlinkClientError) in
            try client.stream(Method.fullName, parameters, as: Method.Reply.self) { reply in
                let line = json ? (try? encoder.encode(reply)).map { String(decoding: $0, as: UTF8.self) } : text(reply)
                if let line { print(line) }
                flushStandardOutput()
            }
        }
    }

    /// Does something with a connection to vfiod; an error is printed, and becomes the exit status.
    private func connected<Value>(
        _ body: (inout VarlinkClient) throws(VarlinkClientError) -> Value
    ) throws -> Value {
        do throws(VarlinkClientError) {
            var client = try VarlinkClient(path: socket)
            return try body(&client)
        } catch {
            let failure = Failure(error, socket: socket)
            writeToStandardError("vfioctl: \(failure.text)\n")
            throw failure.status
        }
    }

    /// Prints `reply` as JSON if that was asked for, else `text`.
    func show(_ reply: some Encodable, _ text: () -> String) throws {
        guard json else { return print(text(), terminator: "") }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        print(String(decoding: try encoder.encode(reply), as: UTF8.self))
    }
}

/// A device as it is typed. What it means is vfiod's to say.
struct DeviceArgument: ExpressibleByArgument, Hashable {
    let text: String

    init?(argument: String) {
        guard !argument.isEmpty else { return nil }
        text = argument
    }

    static let help = ArgumentHelp(
        "The device: its PCI address, such as 00:10.0; its name in the configuration; or what it is: id=8086:10d3, "
            + "serial=52-54-00-ff-ff-12-34-56, slot=4 or path=00:1c.0/00.0, several with commas between.",
        valueName: "device")
}
