internal import Passthrough

/// The helper that writes and reads sysfs attributes which can sleep; see ``SysfsWriter``.
public enum HelperProcess {
    /// Does a helper's work if `arguments`, without the program's name, ask for it. Returns the exit status, nil if
    /// this process is no helper. To be called before anything else is set up.
    public static func runIfAsked(_ arguments: [String]) -> Int32? {
        guard let verb = arguments.first, [SysfsWriter.writeVerb, SysfsWriter.readVerb].contains(verb) else {
            return nil
        }
        return SysfsWriter.main(arguments)
    }
}
