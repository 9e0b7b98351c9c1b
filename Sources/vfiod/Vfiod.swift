internal import ArgumentParser
internal import Glibc
internal import VfiodDaemon

@main
enum Vfiod {
    static func main() async {
        let arguments = Array(CommandLine.arguments.dropFirst())
        if let status = HelperProcess.runIfAsked(arguments) { exit(status) }
        await VfiodCommand.main(arguments)
    }
}
