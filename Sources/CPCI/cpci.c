#include "cpci.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

static jmp_buf way_back;
static char message[256];

__attribute__((noreturn)) static void fail(char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    longjmp(way_back, 1);
}

static void ignore(char *format, ...) { (void)format; }

const char *cpci_last_message(void) { return message; }

struct pci_access *cpci_open(char *path) {
    struct pci_access *access = pci_alloc();
    access->error = fail;
    access->warning = ignore;
    access->debug = ignore;
    access->method = PCI_ACCESS_SYS_BUS_PCI;
    if (setjmp(way_back) != 0) return NULL;
    if (pci_set_param(access, "sysfs.path", path) != 0) return NULL;
    pci_init(access);
    return access;
}

int cpci_scan(struct pci_access *access) {
    if (setjmp(way_back) != 0) return -1;
    pci_scan_bus(access);
    return 0;
}

const char *cpci_name(struct pci_access *access, char *buffer, int size, int flags, int first, int second) {
    if (setjmp(way_back) != 0) return NULL;
    return pci_lookup_name(access, buffer, size, flags, first, second);
}
