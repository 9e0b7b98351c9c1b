// libpci's functions that Swift cannot call as they are: pci_lookup_name is variadic, and the error callback must not
// return, while the default one ends the process. Both are fenced here. One file of the PCI target includes this, and
// it holds a lock around every call, because the way back from an error is one static variable.
#ifndef CPCI_SHIM_H
#define CPCI_SHIM_H

#include <pci/pci.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

// Static variables of functions, because those of this file would be declared, but not defined, in a Swift object file.
static inline jmp_buf *_Nonnull cpci_way_back(void) {
    static jmp_buf way_back;
    return &way_back;
}

static inline char *_Nonnull cpci_message(void) {
    static char message[256];
    return message;
}

static void cpci_fail(char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(cpci_message(), 256, format, arguments);
    va_end(arguments);
    longjmp(*cpci_way_back(), 1);
}

static void cpci_ignore(char *format, ...) { (void)format; }

// The text of the last error.
static inline const char *_Nonnull cpci_last_message(void) { return cpci_message(); }

// An access to the PCI bus as sysfs shows it at `path`, such as /sys/bus/pci; NULL after an error.
__attribute__((noinline)) static struct pci_access *_Nullable cpci_open(char *_Nonnull path) {
    struct pci_access *access = pci_alloc();
    access->error = cpci_fail;
    access->warning = cpci_ignore;
    access->debug = cpci_ignore;
    access->method = PCI_ACCESS_SYS_BUS_PCI;
    if (setjmp(*cpci_way_back()) != 0) return NULL;
    if (pci_set_param(access, "sysfs.path", path) != 0) return NULL;
    pci_init(access);
    return access;
}

// Fills the access' list of devices. 0, or -1 after an error.
__attribute__((noinline)) static int cpci_scan(struct pci_access *_Nonnull access) {
    if (setjmp(*cpci_way_back()) != 0) return -1;
    pci_scan_bus(access);
    return 0;
}

// The name of the ids in pci.ids; NULL after an error.
__attribute__((noinline)) static const char *_Nullable cpci_name(
    struct pci_access *_Nonnull access, char *_Nonnull buffer, int size, int flags, int first, int second) {
    if (setjmp(*cpci_way_back()) != 0) return NULL;
    return pci_lookup_name(access, buffer, size, flags, first, second);
}

#endif
