#define _GNU_SOURCE
#include "clinux.h"

#include <grp.h>
#include <sys/prctl.h>

_Static_assert(sizeof(struct clinux_ucred) == sizeof(struct ucred), "ucred");

const char *clinux_errno_name(int error) { return strerrorname_np(error); }

int clinux_pidfd_open(pid_t pid) { return (int)syscall(SYS_pidfd_open, pid, 0); }

int clinux_peer_pidfd(int socket) {
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif
    int fd = -1;
    socklen_t size = sizeof(fd);
    return getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &fd, &size) == 0 ? fd : -1;
}

int clinux_is_memory(int fd) { return fcntl(fd, F_GET_SEALS) < 0 ? -1 : 0; }

int clinux_sealed_memfd(const char *name, off_t length) {
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) return -1;
    if (ftruncate(fd, length) != 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

int clinux_is_sealed(int fd) {
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0) return -1;
    return (seals & F_SEAL_SHRINK) != 0;
}

int clinux_fcntl_int(int fd, int command, int argument) { return fcntl(fd, command, argument); }

int clinux_prctl(int option, unsigned long a, unsigned long b) { return prctl(option, a, b, 0UL, 0UL); }

int clinux_name_thread(const char *name) { return prctl(PR_SET_NAME, (unsigned long)name, 0UL, 0UL, 0UL); }

int clinux_ioctl_value(int fd, unsigned long request, unsigned long argument) { return ioctl(fd, request, argument); }

int clinux_ioctl_pointer(int fd, unsigned long request, void *argument) { return ioctl(fd, request, argument); }

int clinux_spawn(
    pid_t *pid, const char *path, char *const *arguments, char *const *environment, const int *sources, int count) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    int copies[16];
    int made = 0;
    if (count < 0 || count > 16) return EINVAL;
    // A source may have one of the numbers 3, 4, ... that another one is to get: move all of them out of the way.
    for (; made < count; made++) {
        copies[made] = fcntl(sources[made], F_DUPFD_CLOEXEC, 3 + count);
        if (copies[made] < 0) break;
    }
    int error = made < count ? errno : posix_spawn_file_actions_init(&actions);
    if (error == 0) {
        error = posix_spawnattr_init(&attributes);
        if (error == 0) {
            sigemptyset(&none);
            sigfillset(&all);
            error = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
            for (int i = 0; i < count && error == 0; i++)
                error = posix_spawn_file_actions_adddup2(&actions, copies[i], 3 + i);
            if (error == 0) error = posix_spawn_file_actions_addclosefrom_np(&actions, 3 + count);
            if (error == 0) error = posix_spawnattr_setsigmask(&attributes, &none);
            if (error == 0) error = posix_spawnattr_setsigdefault(&attributes, &all);
            if (error == 0)
                error = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
            if (error == 0) error = posix_spawn(pid, path, &actions, &attributes, arguments, environment);
            posix_spawnattr_destroy(&attributes);
        }
        posix_spawn_file_actions_destroy(&actions);
    }
    for (int i = 0; i < made; i++) close(copies[i]);
    return error;
}

int clinux_accept(int fd) { return accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK); }

int clinux_drop_privileges(uid_t uid, gid_t gid, const char **step) {
    // Capabilities that are gone from the bounding set cannot come back through an exec. EINVAL ends the list; EPERM
    // means that we never had the right to change the set, and then setuid below is what counts.
    for (int capability = 0; capability < 64; capability++) {
        if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0) break;
    }
    *step = "setgroups";
    if (getuid() == 0 && setgroups(0, NULL) != 0) return -1;
    *step = "setresgid";
    if (getuid() == 0 && setresgid(gid, gid, gid) != 0) return -1;
    *step = "setresuid";
    if (getuid() == 0 && setresuid(uid, uid, uid) != 0) return -1;
    *step = "prctl(PR_SET_NO_NEW_PRIVS)";
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return -1;
    *step = "prctl(PR_SET_DUMPABLE)";
    return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

ssize_t clinux_send(
    int fd, const void * bytes, size_t count, const int * descriptors, int descriptorCount,
    int flags) {
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int) * CLINUX_MAX_DESCRIPTORS)];
    } control;
    struct iovec vector = {.iov_base = (void *)bytes, .iov_len = count};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    if (descriptorCount < 0 || descriptorCount > CLINUX_MAX_DESCRIPTORS) {
        errno = EINVAL;
        return -1;
    }
    if (descriptorCount > 0) {
        memset(&control, 0, sizeof(control));
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)descriptorCount);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)descriptorCount);
        memcpy(CMSG_DATA(header), descriptors, sizeof(int) * (size_t)descriptorCount);
    }
    return sendmsg(fd, &message, flags | MSG_NOSIGNAL);
}

ssize_t clinux_receive(
    int fd, void * bytes, size_t count, int * descriptors, int * descriptorCount,
    int * messageFlags, int flags) {
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int) * CLINUX_MAX_DESCRIPTORS)];
    } control;
    struct iovec vector = {.iov_base = bytes, .iov_len = count};
    struct msghdr message = {
        .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
    *descriptorCount = 0;
    *messageFlags = 0;
    ssize_t result = recvmsg(fd, &message, flags | MSG_CMSG_CLOEXEC);
    if (result < 0) return result;
    *messageFlags = message.msg_flags;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header != NULL; header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
        size_t held = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        const int *received = (const int *)(const void *)CMSG_DATA(header);
        for (size_t i = 0; i < held && *descriptorCount < CLINUX_MAX_DESCRIPTORS; i++) {
            descriptors[(*descriptorCount)++] = received[i];
        }
    }
    return result;
}

ssize_t clinux_receive_netlink(
    int fd, void *bytes, size_t count, struct clinux_netlink_sender *sender, int *messageFlags) {
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(struct ucred))];
    } control;
    struct sockaddr_nl address = {0};
    struct iovec vector = {.iov_base = bytes, .iov_len = count};
    struct msghdr message = {
        .msg_name = &address, .msg_namelen = sizeof(address), .msg_iov = &vector, .msg_iovlen = 1,
        .msg_control = &control, .msg_controllen = sizeof(control)};
    ssize_t result = recvmsg(fd, &message, MSG_DONTWAIT);
    if (result < 0) return result;
    *messageFlags = message.msg_flags;
    *sender = (struct clinux_netlink_sender){.port = address.nl_pid, .groups = address.nl_groups, .process = -1};
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header != NULL; header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_CREDENTIALS) continue;
        struct ucred credentials;
        memcpy(&credentials, CMSG_DATA(header), sizeof(credentials));
        sender->process = credentials.pid;
    }
    return result;
}
