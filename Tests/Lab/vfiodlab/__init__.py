"""The lab: builds vfiod, boots a virtual hypervisor host with PCI devices to give away, and proves vfiod in it."""
