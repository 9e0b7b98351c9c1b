internal import ArgumentParser
internal import VfiodAPI

struct AttachVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "attach", abstract: "Give a bound device to a user, until detach.",
        discussion: """
            The user, and with --gid the members of that group too, may use the device through the socket that is printed. \
            Other devices of the same IOMMU group can be attached for the same owner only.

            With --mode vfio-user, an unmodified VMM of that user drives the device over the socket (QEMU 10.1, Cloud \
            Hypervisor): it needs no rights of its own. The guest's memory must be shared with vfiod, as the printed \
            arguments have it.

              vfioctl attach 00:11.0 --uid 1000
              vfioctl attach 00:11.0 --uid 1000 --gid 36 --dry-run
              qemu-system-x86_64 -m 4G $(vfioctl attach 00:11.0 --uid 1000 --qemu 4G) ...
            """)

    @OptionGroup var common: CommonOptions
    @Argument(help: DeviceArgument.help) var device: DeviceArgument
    @Option(help: ArgumentHelp("The user that it is given to.", valueName: "number")) var uid: Int
    @Option(help: ArgumentHelp("The group whose members may use it too.", valueName: "number")) var gid: Int?
    @Option(help: ArgumentHelp("How it is to be used: descriptors (default) or vfio-user.", valueName: "mode"))
    var mode: String?
    @Option(
        help: ArgumentHelp(
            "Attach for vfio-user, and print only the arguments for a QEMU whose guest has this much memory.",
            valueName: "memory"))
    var qemu: String?
    @Option(help: ArgumentHelp("A blocker to override; may be given more than once.", valueName: "code"))
    var consent: [String] = []
    @Flag(help: "Change nothing; print what would be done and what stands against it.")
    var dryRun = false

    func validate() throws {
        if let mode, qemu != nil, mode != AttachVerb.vfioUser {
            throw ValidationError("--qemu is for --mode vfio-user.")
        }
        // It goes into a command line as it is.
        if let qemu, !AttachVerb.isMemory(qemu) {
            throw ValidationError("--qemu takes the guest's memory as QEMU has it, such as 4G or 512M.")
        }
    }

    func run() throws {
        let mode = mode ?? (qemu == nil ? nil : AttachVerb.vfioUser)
        let parameters = Attach.Parameters(
            device: device.text, uid: uid, gid: gid, mode: mode, consent: consent, dryRun: dryRun)
        let reply = try common.call(Attach.self, parameters)
        try common.show(reply) { dryRun ? dryRunText(reply.plan) : text(reply) }
    }

    static let vfioUser = "vfio-user"

    static func isMemory(_ text: String) -> Bool {
        let digits = text.utf8.prefix { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
        let unit = text.utf8.dropFirst(digits.count)
        return !digits.isEmpty && digits.count <= 6 && ["M", "G", "T"].contains(String(unit))
    }

    /// What makes a QEMU drive the device. No blank is in any of them, so that a shell can take them apart. By itself, QEMU
    /// would wait 5 seconds for an answer, and a reset may take longer.
    static func arguments(socket: String, memory: String) -> String {
        """
        -object memory-backend-memfd,id=vfiod-memory,size=\(memory),share=on -machine memory-backend=vfiod-memory \
        -device {"driver":"vfio-user-pci","x-msg-timeout":60000,"socket":{"type":"unix","path":"\(socket)"}}
        """
    }

    func text(_ reply: Attach.Reply) -> String {
        let socket = reply.lease?.devices.first { $0.device == reply.device }?.socket ?? "?"
        if let qemu { return AttachVerb.arguments(socket: socket, memory: qemu) + "\n" }
        var text = "\(device.text) is given to user \(uid). Sessions begin at \(socket)\n"
        if reply.lease?.mode == AttachVerb.vfioUser {
            text += "For QEMU, with the size of the guest's memory:\n  "
            text += AttachVerb.arguments(socket: socket, memory: "SIZE") + "\n"
            text +=
                reply.lease?.mapsBars == true
                ? "The VMM is given the device's descriptor, to map its registers; map-bars = false in vfiod.toml keeps it.\n"
                : "The VMM reaches the device's registers through vfiod only (map-bars in vfiod.toml).\n"
        }
        return text
    }
}
