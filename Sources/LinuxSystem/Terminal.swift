internal import CLinux
internal import Glibc

/// How many columns the terminal at standard output has; nil if it is none, or does not say (TIOCGWINSZ,
/// ioctl_tty(2)).
public func terminalWidth() -> Int? {
    var size = winsize()
    // SAFETY: the kernel fills `size`, alive for the call.
    guard unsafe clinux_ioctl_pointer(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return nil }
    return Int(size.ws_col)
}
