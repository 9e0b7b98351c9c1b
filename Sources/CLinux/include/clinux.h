// What Swift cannot see of the kernel and libc: request numbers built with _IO(), function-like macros, and constants
// that the Glibc module leaves out. Layouts come from the kernel's own headers and are checked below, because the
// rest of the package relies on their sizes.
#ifndef CLINUX_H
#define CLINUX_H

// _GNU_SOURCE must not be defined here: it changes layouts that Swift's Glibc module has seen without it. What needs
// it lives in clinux.c.
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/netlink.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

// VFIO requests (linux/vfio.h). None of them encodes a size.
static const unsigned long CLINUX_VFIO_GET_API_VERSION = VFIO_GET_API_VERSION;
static const unsigned long CLINUX_VFIO_CHECK_EXTENSION = VFIO_CHECK_EXTENSION;
static const unsigned long CLINUX_VFIO_SET_IOMMU = VFIO_SET_IOMMU;
static const unsigned long CLINUX_VFIO_GROUP_GET_STATUS = VFIO_GROUP_GET_STATUS;
static const unsigned long CLINUX_VFIO_GROUP_SET_CONTAINER = VFIO_GROUP_SET_CONTAINER;
static const unsigned long CLINUX_VFIO_GROUP_UNSET_CONTAINER = VFIO_GROUP_UNSET_CONTAINER;
static const unsigned long CLINUX_VFIO_GROUP_GET_DEVICE_FD = VFIO_GROUP_GET_DEVICE_FD;
static const unsigned long CLINUX_VFIO_DEVICE_GET_INFO = VFIO_DEVICE_GET_INFO;
static const unsigned long CLINUX_VFIO_DEVICE_GET_REGION_INFO = VFIO_DEVICE_GET_REGION_INFO;
static const unsigned long CLINUX_VFIO_DEVICE_GET_IRQ_INFO = VFIO_DEVICE_GET_IRQ_INFO;
static const unsigned long CLINUX_VFIO_DEVICE_SET_IRQS = VFIO_DEVICE_SET_IRQS;
static const unsigned long CLINUX_VFIO_DEVICE_RESET = VFIO_DEVICE_RESET;
static const unsigned long CLINUX_VFIO_DEVICE_GET_PCI_HOT_RESET_INFO = VFIO_DEVICE_GET_PCI_HOT_RESET_INFO;
static const unsigned long CLINUX_VFIO_DEVICE_PCI_HOT_RESET = VFIO_DEVICE_PCI_HOT_RESET;
static const unsigned long CLINUX_VFIO_IOMMU_MAP_DMA = VFIO_IOMMU_MAP_DMA;
static const unsigned long CLINUX_VFIO_IOMMU_UNMAP_DMA = VFIO_IOMMU_UNMAP_DMA;

// KVM requests (linux/kvm.h).
static const unsigned long CLINUX_KVM_GET_API_VERSION = KVM_GET_API_VERSION;
static const unsigned long CLINUX_KVM_CREATE_VM = KVM_CREATE_VM;
static const unsigned long CLINUX_KVM_CHECK_EXTENSION = KVM_CHECK_EXTENSION;
static const unsigned long CLINUX_KVM_GET_VCPU_MMAP_SIZE = KVM_GET_VCPU_MMAP_SIZE;
static const unsigned long CLINUX_KVM_CREATE_VCPU = KVM_CREATE_VCPU;
static const unsigned long CLINUX_KVM_SET_USER_MEMORY_REGION = KVM_SET_USER_MEMORY_REGION;
static const unsigned long CLINUX_KVM_CREATE_IRQCHIP = KVM_CREATE_IRQCHIP;
static const unsigned long CLINUX_KVM_GET_IRQCHIP = KVM_GET_IRQCHIP;
static const unsigned long CLINUX_KVM_SET_IRQCHIP = KVM_SET_IRQCHIP;
static const unsigned long CLINUX_KVM_SET_GSI_ROUTING = KVM_SET_GSI_ROUTING;
static const unsigned long CLINUX_KVM_IRQFD = KVM_IRQFD;
static const unsigned long CLINUX_KVM_SIGNAL_MSI = KVM_SIGNAL_MSI;
static const unsigned long CLINUX_KVM_ENABLE_CAP = KVM_ENABLE_CAP;
static const unsigned long CLINUX_KVM_RUN = KVM_RUN;
static const unsigned long CLINUX_KVM_GET_REGS = KVM_GET_REGS;
static const unsigned long CLINUX_KVM_SET_REGS = KVM_SET_REGS;
static const unsigned long CLINUX_KVM_GET_SREGS = KVM_GET_SREGS;
static const unsigned long CLINUX_KVM_SET_SREGS = KVM_SET_SREGS;
static const unsigned long CLINUX_KVM_SET_MSRS = KVM_SET_MSRS;
static const unsigned long CLINUX_KVM_GET_SUPPORTED_CPUID = KVM_GET_SUPPORTED_CPUID;
static const unsigned long CLINUX_KVM_SET_CPUID2 = KVM_SET_CPUID2;
static const unsigned long CLINUX_KVM_GET_LAPIC = KVM_GET_LAPIC;
static const unsigned long CLINUX_KVM_SET_LAPIC = KVM_SET_LAPIC;
static const unsigned long CLINUX_KVM_SET_MP_STATE = KVM_SET_MP_STATE;

_Static_assert(VFIO_DEVICE_SET_IRQS == 0x3b6e, "VFIO requests are 0x3b64 + n");
_Static_assert(sizeof(struct vfio_group_status) == 8, "vfio_group_status");
_Static_assert(sizeof(struct vfio_device_info) == 20 || sizeof(struct vfio_device_info) == 24, "vfio_device_info");
_Static_assert(sizeof(struct vfio_region_info) == 32, "vfio_region_info");
_Static_assert(sizeof(struct vfio_irq_info) == 16, "vfio_irq_info");
_Static_assert(sizeof(struct vfio_irq_set) == 20, "vfio_irq_set header");
// The device's interrupt rules rely on these numbers (linux/vfio.h, VFIO_DEVICE_SET_IRQS).
_Static_assert(VFIO_IRQ_SET_DATA_NONE == 1 && VFIO_IRQ_SET_DATA_BOOL == 2 && VFIO_IRQ_SET_DATA_EVENTFD == 4, "data");
_Static_assert(VFIO_IRQ_SET_ACTION_MASK == 8 && VFIO_IRQ_SET_ACTION_UNMASK == 16, "mask actions");
_Static_assert(VFIO_IRQ_SET_ACTION_TRIGGER == 32, "trigger action");
_Static_assert(VFIO_IRQ_INFO_EVENTFD == 1 && VFIO_IRQ_INFO_NORESIZE == 8, "vfio_irq_info flags");
_Static_assert(VFIO_PCI_INTX_IRQ_INDEX == 0 && VFIO_PCI_MSI_IRQ_INDEX == 1 && VFIO_PCI_MSIX_IRQ_INDEX == 2, "indexes");
_Static_assert(VFIO_PCI_ERR_IRQ_INDEX == 3 && VFIO_PCI_REQ_IRQ_INDEX == 4, "indexes");
_Static_assert(VFIO_PCI_BAR0_REGION_INDEX == 0 && VFIO_PCI_CONFIG_REGION_INDEX == 7, "regions");
_Static_assert(VFIO_PCI_VGA_REGION_INDEX == 8 && VFIO_PCI_ROM_REGION_INDEX == 6, "regions");
_Static_assert(VFIO_TYPE1v2_IOMMU == 3 && VFIO_API_VERSION == 0, "container");
_Static_assert(offsetof(struct vfio_irq_set, data) == 20, "vfio_irq_set.data");
_Static_assert(VFIO_DEVICE_GET_PCI_HOT_RESET_INFO == 0x3b70 && VFIO_DEVICE_PCI_HOT_RESET == 0x3b71, "hot reset");
_Static_assert(sizeof(struct vfio_pci_dependent_device) == 8, "vfio_pci_dependent_device");
_Static_assert(offsetof(struct vfio_pci_dependent_device, segment) == 4, "vfio_pci_dependent_device.segment");
_Static_assert(offsetof(struct vfio_pci_dependent_device, devfn) == 7, "vfio_pci_dependent_device.devfn");
_Static_assert(offsetof(struct vfio_pci_hot_reset_info, devices) == 12, "vfio_pci_hot_reset_info.devices");
_Static_assert(offsetof(struct vfio_pci_hot_reset, group_fds) == 12, "vfio_pci_hot_reset.group_fds");
_Static_assert(sizeof(struct vfio_iommu_type1_dma_map) == 32, "vfio_iommu_type1_dma_map");
_Static_assert(offsetof(struct vfio_iommu_type1_dma_map, vaddr) == 8, "vfio_iommu_type1_dma_map.vaddr");
_Static_assert(offsetof(struct vfio_iommu_type1_dma_map, iova) == 16, "vfio_iommu_type1_dma_map.iova");
_Static_assert(sizeof(struct vfio_iommu_type1_dma_unmap) == 24, "vfio_iommu_type1_dma_unmap");
_Static_assert(offsetof(struct vfio_iommu_type1_dma_unmap, iova) == 8, "vfio_iommu_type1_dma_unmap.iova");
_Static_assert(VFIO_DMA_MAP_FLAG_READ == 1 && VFIO_DMA_MAP_FLAG_WRITE == 2, "map flags");
_Static_assert(KVM_SET_GSI_ROUTING == 0x4008ae6a, "KVM_SET_GSI_ROUTING");
_Static_assert(KVM_IRQFD == 0x4020ae76, "KVM_IRQFD");
_Static_assert(KVM_SIGNAL_MSI == 0x4020aea5, "KVM_SIGNAL_MSI");
_Static_assert(sizeof(struct kvm_irqfd) == 32, "kvm_irqfd");
_Static_assert(sizeof(struct kvm_irq_routing) == 8, "kvm_irq_routing header");
_Static_assert(sizeof(struct kvm_irq_routing_entry) == 48, "kvm_irq_routing_entry");
_Static_assert(sizeof(struct kvm_msi) == 32, "kvm_msi");
_Static_assert(sizeof(struct kvm_irqchip) == 520, "kvm_irqchip");
_Static_assert(offsetof(struct kvm_irqchip, chip.ioapic.redirtbl) == 32, "kvm_ioapic_state");
_Static_assert(sizeof(struct kvm_cpuid2) == 8 && sizeof(struct kvm_cpuid_entry2) == 40, "kvm_cpuid2");
_Static_assert(sizeof(struct kvm_msrs) == 8 && sizeof(struct kvm_msr_entry) == 16, "kvm_msrs");
_Static_assert(offsetof(struct kvm_run, exit_reason) == 8 && offsetof(struct kvm_run, io) == 32 &&
                   offsetof(struct kvm_run, mmio.phys_addr) == 32,
               "kvm_run");

// Constants that are macros with casts, or absent from the Glibc module.
static const unsigned int CLINUX_EPOLLIN = EPOLLIN;
static const unsigned int CLINUX_EPOLLOUT = EPOLLOUT;
static const unsigned int CLINUX_EPOLLERR = EPOLLERR;
static const unsigned int CLINUX_EPOLLHUP = EPOLLHUP;
static const unsigned int CLINUX_EPOLLRDHUP = EPOLLRDHUP;
static const int CLINUX_SOCK_CLOEXEC = SOCK_CLOEXEC;
static const int CLINUX_MSG_DONTWAIT = MSG_DONTWAIT;
static const int CLINUX_MSG_CUT = MSG_CTRUNC | MSG_TRUNC;
static const int CLINUX_EFD_FLAGS = EFD_CLOEXEC | EFD_NONBLOCK;

struct clinux_ucred {
    int32_t pid;
    uint32_t uid;
    uint32_t gid;
};

// The name of an errno value, such as "EBUSY"; NULL if it has none.
const char *_Nullable clinux_errno_name(int error);

// A descriptor that becomes readable when the process ends (pidfd_open(2)).
int clinux_pidfd_open(pid_t pid);

// A memfd that can be sealed, close-on-exec, of `length` zero bytes and sealed against resizing.
int clinux_sealed_memfd(const char *_Nonnull name, off_t length);

// A descriptor of the process that connected to the Unix socket, readable once it has ended (SO_PEERPIDFD, Linux 6.5);
// ENOPROTOOPT on older kernels.
int clinux_peer_pidfd(int socket);

// Whether the file is memory: of tmpfs (memfds among them) or hugetlbfs, for which alone the kernel keeps seals. Asks
// nobody outside of the kernel, as fstatfs(2) does of a file of FUSE. 0, or -1 with errno (EINVAL: it is none).
int clinux_is_memory(int fd);

// 1 if the memfd is sealed against shrinking, 0 if not, -1 with errno if it is no memfd.
int clinux_is_sealed(int fd);

// Variadic in libc, so not callable from Swift.
int clinux_fcntl_int(int fd, int command, int argument);
int clinux_prctl(int option, unsigned long a, unsigned long b);
int clinux_ioctl_value(int fd, unsigned long request, unsigned long argument);
int clinux_ioctl_pointer(int fd, unsigned long request, void *_Nullable argument);

// Gives the calling thread a name of at most 15 bytes; a longer one is cut (PR_SET_NAME, prctl(2)).
int clinux_name_thread(const char *_Nonnull name);

// Starts `path` with `arguments` and `environment` (NULL at their ends), with `sources` as descriptors 3, 4, ... and
// nothing else but 0 (/dev/null), 1 and 2; no signal is blocked or ignored. Returns 0 or an errno.
int clinux_spawn(
    pid_t *_Nonnull pid, const char *_Nonnull path, char *_Nullable const *_Nonnull arguments,
    char *_Nullable const *_Nonnull environment, const int *_Nullable sources, int count);

// The status of a child that has ended, as waitpid(2) returns it: its exit status, or minus the signal that ended it.
static inline int clinux_exit_status(int status) {
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

// A connection from a listening socket, close-on-exec and non-blocking (accept4(2)).
int clinux_accept(int fd);

// Words that another process or a guest may write at the same time.
static inline uint32_t clinux_load32(const void *_Nonnull address) {
    return __atomic_load_n((const uint32_t *)address, __ATOMIC_ACQUIRE);
}
static inline void clinux_store32(void *_Nonnull address, uint32_t value) {
    __atomic_store_n((uint32_t *)address, value, __ATOMIC_RELEASE);
}

// Gives up every right but those of an ordinary user, for good: groups, uid, gid, capabilities and the way back to
// them. Returns 0, or -1 with errno and the failing step's name in *step.
int clinux_drop_privileges(uid_t uid, gid_t gid, const char *_Nullable *_Nonnull step);

// CMSG_* are function-like macros.
enum { CLINUX_MAX_DESCRIPTORS = 253 };  // SCM_MAX_FD, include/net/scm.h

// Sends the bytes with the descriptors attached to the first of them. Returns sendmsg's result.
ssize_t clinux_send(
    int fd, const void *_Nullable bytes, size_t count, const int *_Nullable descriptors, int descriptorCount,
    int flags);

// Receives bytes and up to CLINUX_MAX_DESCRIPTORS descriptors, all close-on-exec. *messageFlags gets msg_flags, so that
// a caller sees MSG_CTRUNC and MSG_TRUNC. Descriptors that came with a truncated control message are still returned,
// because somebody has to close them.
ssize_t clinux_receive(
    int fd, void *_Nonnull bytes, size_t count, int *_Nonnull descriptors, int *_Nonnull descriptorCount,
    int *_Nonnull messageFlags, int flags);

// Who sent a netlink message: a port (0: the kernel), the groups it was sent to as a mask, and the process of its
// credentials (0: the kernel; -1: none came).
struct clinux_netlink_sender {
    uint32_t port;
    uint32_t groups;
    int32_t process;
};

// Receives one message of a netlink socket with SO_PASSCRED and its sender, without waiting. *messageFlags gets
// msg_flags. Returns recvmsg's result.
ssize_t clinux_receive_netlink(
    int fd, void *_Nonnull bytes, size_t count, struct clinux_netlink_sender *_Nonnull sender,
    int *_Nonnull messageFlags);

#endif
