extension VFIORules {
    // MARK: Resets of a whole bus (vfio_pci_core.c, vfio_pci_ioctl_pci_hot_reset)

    static let rootBus = [
        VFIORule(
            "a device on a root bus has no hot reset", .edu,
            [
                .hotResetInfo(room: 4, .errno("ENODEV")), .hotResetInfo(room: 0, size: 11, .errno("EINVAL")),
                .hotReset([.group], flags: 1, .errno("EINVAL")), .hotReset([.group], .errno("ENODEV")),
            ])
    ]

    /// On three functions of one bus. The lab's kernel is asked the same by `reset.hot-reset-rules`: other Swift tests
    /// need one of those functions with its host driver.
    static let bus = [
        VFIORule(
            "a hot reset counts all functions on the bus, and fills in what fits", .shared,
            [
                .hotResetInfo(room: 0, counts: 3, .errno("ENOSPC")),
                .hotResetInfo(room: 2, counts: 3, .errno("ENOSPC")),
                .hotResetInfo(room: 3, counts: 3, .ok), .hotResetInfo(room: 9, counts: 3, .ok),
            ]),
        VFIORule(
            "a hot reset wants open IOMMU groups, at most one per function", .shared,
            [
                .hotReset([], .errno("EINVAL")), .hotReset([.group], flags: 1, .errno("EINVAL")),
                .hotReset([.group, .group, .group, .group], .errno("EINVAL")),
                .hotReset([.closed], .errno("EBADF")), .hotReset([.otherFile], .errno("EINVAL")),
            ]),
        VFIORule(
            "a hot reset with the IOMMU group of all resets, and the type and its eventfds stay", .shared,
            [
                .set(.msi, .trigger, .eventfds([0]), .ok), .hotReset([.group], .ok),
                .set(.msi, .trigger, .none(count: 1), .ok), .counts([0: 1]),
            ]),
    ]
}
