internal import BootClaim
internal import Glibc

exit(BootClaimProcess.main(Array(CommandLine.arguments.dropFirst())))
