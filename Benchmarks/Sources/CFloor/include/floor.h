// The least kernel work for each operation, in plain C: what no implementation can be faster than. One floor at a time,
// one thread. Each call returns 0, or minus the errno of the first request that was refused.
#ifndef FLOOR_H
#define FLOOR_H

// The most vectors of a device, and entries of a routing table.
enum { FLOOR_VECTORS = 2048, FLOOR_ROUTES = 4096 };

// Lets this process run on the processor that it is on and nowhere else, and, for root, ahead of what else wants it:
// other work on the machine then makes no difference.
int floor_pin(void);

// A machine with interrupt controllers and one virtual CPU that never runs, whose local APIC is on. Their descriptors, or
// minus an errno in both.
struct floor_machine {
    int machine;
    int processor;
};
struct floor_machine floor_make_machine(void);

// Wires the vectors below to such a machine of its own, where `foreign` routes stand in every table beside the pins'.
// Closes the one before.
int floor_open_machine(int foreign);

// Lets the calls below also wire this VFIO device, -1 for none. Its interrupts must be off.
void floor_use_device(int device);

// How many requests the calls below have made.
long floor_requests(void);

// The eventfds of `count` vectors, and their end.
int floor_make_notifiers(int count);
void floor_close_notifiers(int count);

// MSI-X: one table commit, `count` irqfds, one SET_IRQS; and back.
int floor_enable(int count);
int floor_disable(int count);

// One vector of those enabled: another message; an event; VFIO's descriptor swapped for a private one and back.
int floor_update(int index);
int floor_trigger(int index);
int floor_mask_msix(int index);
int floor_unmask_msix(int index);

// MSI: irqfds wired as above, on VFIO's MSI index; masked by taking the irqfd away.
int floor_enable_msi(int count);
int floor_disable_msi(int count);
int floor_mask_msi(int index);
int floor_unmask_msi(int index);

// INTx on pin 16: an irqfd with resample, VFIO's trigger and unmask eventfd, and its mask. The two eventfds are those of
// vectors 0 and 1.
int floor_enable_line(void);
int floor_disable_line(void);
int floor_mask_line(void);
int floor_unmask_line(void);

#endif
