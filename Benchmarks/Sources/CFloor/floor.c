#define _GNU_SOURCE
#include "floor.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/vfio.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { FIRST_NUMBER = 24, LINE = 16 };

static int machine = -1;
static int processor = -1;
static int device = -1;
static int notifiers[FLOOR_VECTORS];
static int holding = -1;

static struct {
    struct kvm_irq_routing header;
    struct kvm_irq_routing_entry entries[FLOOR_ROUTES];
} table;
static unsigned kept;

static struct {
    struct vfio_irq_set header;
    int descriptors[FLOOR_VECTORS];
} set;

static long requests;

static int result(int value) { return value < 0 ? -errno : 0; }

static int request(int descriptor, unsigned long number, void *argument) {
    requests++;
    return ioctl(descriptor, number, argument);
}

long floor_requests(void) { return requests; }

int floor_pin(void) {
    cpu_set_t only;
    CPU_ZERO(&only);
    CPU_SET(sched_getcpu(), &only);
    if (sched_setaffinity(0, sizeof(only), &only) < 0) return -errno;
    struct sched_param first = {.sched_priority = 1};
    return result(sched_setscheduler(0, SCHED_FIFO, &first));
}

static void add_pin(unsigned number, unsigned chip, unsigned pin) {
    struct kvm_irq_routing_entry *entry = &table.entries[kept++];
    memset(entry, 0, sizeof(*entry));
    entry->gsi = number;
    entry->type = KVM_IRQ_ROUTING_IRQCHIP;
    entry->u.irqchip.irqchip = chip;
    entry->u.irqchip.pin = pin;
}

static void set_message(unsigned slot, unsigned number, unsigned data) {
    struct kvm_irq_routing_entry *entry = &table.entries[slot];
    memset(entry, 0, sizeof(*entry));
    entry->gsi = number;
    entry->type = KVM_IRQ_ROUTING_MSI;
    entry->u.msi.address_lo = 0xfee00000;
    entry->u.msi.data = data;
}

static int commit(unsigned entries) {
    table.header.nr = entries;
    return result(request(machine, KVM_SET_GSI_ROUTING, &table));
}

static int start_processor(int owner) {
    int made = ioctl(owner, KVM_CREATE_VCPU, 0);
    struct kvm_lapic_state apic;
    if (made < 0 || ioctl(made, KVM_GET_LAPIC, &apic) < 0) return -errno;
    // The spurious-interrupt vector register: local APIC on.
    apic.regs[0xf0] = (char)0xff;
    apic.regs[0xf1] = 1;
    return ioctl(made, KVM_SET_LAPIC, &apic) < 0 ? -errno : made;
}

struct floor_machine floor_make_machine(void) {
    int system = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    int made = system < 0 ? -1 : ioctl(system, KVM_CREATE_VM, 0);
    if (made < 0 || ioctl(made, KVM_CREATE_IRQCHIP, 0) < 0) return (struct floor_machine){-errno, -errno};
    close(system);
    return (struct floor_machine){made, start_processor(made)};
}

int floor_open_machine(int foreign) {
    if (processor >= 0) close(processor);
    if (machine >= 0) close(machine);
    if (holding < 0) holding = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct floor_machine made = floor_make_machine();
    if (made.processor < 0) return made.processor;
    machine = made.machine;
    processor = made.processor;
    kept = 0;
    for (unsigned pin = 0; pin < 24; pin++) {
        add_pin(pin, KVM_IRQCHIP_IOAPIC, pin);
        if (pin < 16) add_pin(pin, pin < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE, pin % 8);
    }
    for (int index = 0; index < foreign; index++) set_message(kept++, FLOOR_ROUTES - 1 - index, 200);
    return commit(kept);
}

void floor_use_device(int descriptor) { device = descriptor; }

int floor_make_notifiers(int count) {
    for (int index = 0; index < count; index++) {
        notifiers[index] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (notifiers[index] < 0) return -errno;
    }
    return 0;
}

void floor_close_notifiers(int count) {
    for (int index = 0; index < count; index++) close(notifiers[index]);
}

static int set_irqs(unsigned index, unsigned flags, unsigned start, unsigned count, const int *descriptors) {
    if (device < 0) return 0;
    set.header.argsz = sizeof(set.header) + (descriptors ? count * sizeof(int) : 0);
    set.header.flags = flags | (descriptors ? VFIO_IRQ_SET_DATA_EVENTFD : VFIO_IRQ_SET_DATA_NONE);
    set.header.index = index;
    set.header.start = start;
    set.header.count = count;
    if (descriptors) memcpy(set.header.data, descriptors, count * sizeof(int));
    int done = request(device, VFIO_DEVICE_SET_IRQS, &set);
    return done > 0 ? -ENOSPC : result(done);
}

static int set_irqfd(int index, unsigned number, unsigned flags, int resample) {
    struct kvm_irqfd irqfd = {
        .fd = (uint32_t)notifiers[index], .gsi = number, .flags = flags, .resamplefd = (uint32_t)resample};
    return result(request(machine, KVM_IRQFD, &irqfd));
}

static int enable(unsigned index, int count) {
    int error = 0;
    for (int vector = 0; vector < count; vector++) set_message(kept + vector, FIRST_NUMBER + vector, 64 + vector % 128);
    if ((error = commit(kept + count))) return error;
    for (int vector = 0; vector < count; vector++)
        if ((error = set_irqfd(vector, FIRST_NUMBER + vector, 0, 0))) return error;
    return set_irqs(index, VFIO_IRQ_SET_ACTION_TRIGGER, 0, count, notifiers);
}

static int disable(unsigned index, int count) {
    int error = set_irqs(index, VFIO_IRQ_SET_ACTION_TRIGGER, 0, 0, NULL);
    for (int vector = 0; vector < count && !error; vector++)
        error = set_irqfd(vector, FIRST_NUMBER + vector, KVM_IRQFD_FLAG_DEASSIGN, 0);
    return error ? error : commit(kept);
}

int floor_enable(int count) { return enable(VFIO_PCI_MSIX_IRQ_INDEX, count); }
int floor_disable(int count) { return disable(VFIO_PCI_MSIX_IRQ_INDEX, count); }
int floor_enable_msi(int count) { return enable(VFIO_PCI_MSI_IRQ_INDEX, count); }
int floor_disable_msi(int count) { return disable(VFIO_PCI_MSI_IRQ_INDEX, count); }

int floor_update(int index) {
    table.entries[kept + index].u.msi.data ^= 1;
    return commit(table.header.nr);
}

int floor_trigger(int index) {
    uint64_t one = 1;
    return result(write(notifiers[index], &one, 8));
}

int floor_mask_msix(int index) {
    return set_irqs(VFIO_PCI_MSIX_IRQ_INDEX, VFIO_IRQ_SET_ACTION_TRIGGER, index, 1, &holding);
}

int floor_unmask_msix(int index) {
    int error = set_irqs(VFIO_PCI_MSIX_IRQ_INDEX, VFIO_IRQ_SET_ACTION_TRIGGER, index, 1, &notifiers[index]);
    // What arrived while it was masked.
    uint64_t count;
    if (read(holding, &count, 8) < 0 && errno != EAGAIN) return -errno;
    return error;
}

int floor_mask_msi(int index) { return set_irqfd(index, FIRST_NUMBER + index, KVM_IRQFD_FLAG_DEASSIGN, 0); }

int floor_unmask_msi(int index) {
    uint64_t count;
    if (read(notifiers[index], &count, 8) < 0 && errno != EAGAIN) return -errno;
    return set_irqfd(index, FIRST_NUMBER + index, 0, 0);
}

static int set_unmask(int descriptor) {
    return set_irqs(VFIO_PCI_INTX_IRQ_INDEX, VFIO_IRQ_SET_ACTION_UNMASK, 0, 1, &descriptor);
}

int floor_enable_line(void) {
    int error = set_irqfd(0, LINE, KVM_IRQFD_FLAG_RESAMPLE, notifiers[1]);
    if (!error) error = set_irqs(VFIO_PCI_INTX_IRQ_INDEX, VFIO_IRQ_SET_ACTION_TRIGGER, 0, 1, notifiers);
    if (!error) error = set_unmask(notifiers[1]);
    if (!error) error = set_irqs(VFIO_PCI_INTX_IRQ_INDEX, VFIO_IRQ_SET_ACTION_MASK, 0, 1, NULL);
    if (!error) error = set_irqs(VFIO_PCI_INTX_IRQ_INDEX, VFIO_IRQ_SET_ACTION_UNMASK, 0, 1, NULL);
    return error;
}

int floor_disable_line(void) {
    int error = set_unmask(-1);
    if (!error) error = set_irqs(VFIO_PCI_INTX_IRQ_INDEX, VFIO_IRQ_SET_ACTION_TRIGGER, 0, 0, NULL);
    return error ? error : set_irqfd(0, LINE, KVM_IRQFD_FLAG_DEASSIGN, 0);
}

// Neither the guest's EOI nor its INTx disable bit may lift the mask, and what KVM's worker still has to raise must have
// been raised: hence the unmask eventfd cleared, the trigger swapped, and the irqfd taken away.
int floor_mask_line(void) {
    int error = set_unmask(-1);
    if (!error) error = set_irqs(VFIO_PCI_INTX_IRQ_INDEX, VFIO_IRQ_SET_ACTION_MASK, 0, 1, NULL);
    if (!error) error = set_irqs(VFIO_PCI_INTX_IRQ_INDEX, VFIO_IRQ_SET_ACTION_TRIGGER, 0, 1, &holding);
    return error ? error : set_irqfd(0, LINE, KVM_IRQFD_FLAG_DEASSIGN, 0);
}

int floor_unmask_line(void) {
    uint64_t count;
    if (read(notifiers[1], &count, 8) < 0 && errno != EAGAIN) return -errno;
    int error = set_irqfd(0, LINE, KVM_IRQFD_FLAG_RESAMPLE, notifiers[1]);
    if (!error) error = set_irqs(VFIO_PCI_INTX_IRQ_INDEX, VFIO_IRQ_SET_ACTION_TRIGGER, 0, 1, notifiers);
    if (!error) error = set_unmask(notifiers[1]);
    return error ? error : set_irqs(VFIO_PCI_INTX_IRQ_INDEX, VFIO_IRQ_SET_ACTION_UNMASK, 0, 1, NULL);
}
