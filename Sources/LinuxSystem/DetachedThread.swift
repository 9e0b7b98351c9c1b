internal import CLinux
internal import Glibc
internal import SystemPackage

/// Starts a thread that nobody joins, and that runs `body` once. `name` shows in `ps -L`; the kernel keeps its first 15
/// bytes. Throws EAGAIN at the limit of threads.
func startDetachedThread(
    name: String, _ body: @escaping @Sendable () -> Void
) throws(KernelError) -> pthread_t {
    // SAFETY: the retained reference is given to the thread, which takes it over; where no thread came to be, it is
    // released here.
    let context = unsafe Unmanaged.passRetained(ThreadBody(name: name, run: body))
    var thread = pthread_t()
    let error = unsafe pthread_create(
        &thread, nil,
        { context in
            guard let context = unsafe context else { return nil }
            let body = unsafe Unmanaged<ThreadBody>.fromOpaque(context).takeRetainedValue()
            // Only a label for people: where it is refused, the thread works as well.
            _ = unsafe clinux_name_thread(body.name)
            body.run()
            return nil
        }, context.toOpaque())
    guard error == 0 else {
        unsafe context.release()
        throw KernelError("pthread_create", on: name, Errno(rawValue: error))
    }
    _ = pthread_detach(thread)
    return thread
}

/// What a thread is given.
private final class ThreadBody: Sendable {
    let name: String
    let run: @Sendable () -> Void

    init(name: String, run: @escaping @Sendable () -> Void) {
        self.name = name
        self.run = run
    }
}
