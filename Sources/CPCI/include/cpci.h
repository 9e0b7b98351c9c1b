// libpci's functions that Swift cannot call as they are: pci_lookup_name is variadic, and the error callback must not
// return, while the default one ends the process. Both are fenced here. One file of the PCI target includes this, and
// it holds a lock around every call, because the way back from an error is one static variable.
#ifndef CPCI_H
#define CPCI_H

#include <pci/pci.h>

// The text of the last error.
const char *_Nonnull cpci_last_message(void);

// An access to the PCI bus as sysfs shows it at `path`, such as /sys/bus/pci; NULL after an error.
struct pci_access *_Nullable cpci_open(char *_Nonnull path);

// Fills the access' list of devices. 0, or -1 after an error.
int cpci_scan(struct pci_access *_Nonnull access);

// The name of the ids in pci.ids; NULL after an error.
const char *_Nullable cpci_name(
    struct pci_access *_Nonnull access, char *_Nonnull buffer, int size, int flags, int first, int second);

#endif
