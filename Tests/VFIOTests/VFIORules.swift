/// The kernel's rules that this package relies on, by where the kernel decides them (linux/drivers/vfio).
enum VFIORules {
    static let all =
        opening + information + validation + line + command + messages + table + blocks + single + lifetime
        + rootBus + memory

    // MARK: Opening (group.c, container.c)

    static let opening = [
        VFIORule(
            opening: "SET_IOMMU needs a group", .edu,
            [.container(.ok), .setIOMMU(.errno("EINVAL"))]),
        VFIORule(
            opening: "GET_DEVICE_FD needs an IOMMU", .edu,
            [.container(.ok), .group(.ok), .setContainer(.ok), .device(.errno("EINVAL"))]),
        VFIORule(
            opening: "an unknown device is ENODEV", .edu,
            [
                .container(.ok), .group(.ok), .setContainer(.ok), .setIOMMU(.ok),
                .device(.errno("ENODEV"), named: "0000:ff:1f.7"), .device(.ok),
            ]),
        VFIORule(
            opening: "a group is opened once", .edu,
            [.container(.ok), .group(.ok), .group(.errno("EBUSY")), .closeGroup, .group(.ok)]),
        VFIORule(
            "an open device keeps its group busy", .edu,
            [.closeGroup, .group(.errno("EBUSY")), .closeDevice, .group(.ok)]),
        VFIORule(
            opening: "SET_IOMMU and SET_CONTAINER work once", .edu,
            [
                .container(.ok), .group(.ok), .setContainer(.ok), .setContainer(.errno("EINVAL")), .setIOMMU(.ok),
                .setIOMMU(.errno("EINVAL")), .device(.ok),
            ]),
        VFIORule(
            "a second descriptor of a device shares its state", .e1000e,
            [
                .set(.msi, .trigger, .eventfds([0]), .ok), .device(.ok),
                .set(.msi, .trigger, .none(count: 1), .ok), .counts([0: 1]),
                .closeDevice, .set(.msi, .trigger, .none(count: 1), .ok), .counts([0: 1]),
            ]),
    ]

    // MARK: What an index has (vfio_pci_core.c)

    static let information = [
        VFIORule(
            "counts and flags of edu", .edu,
            [
                .info(.intx, count: 1, flags: 7), .info(.msi, count: 1, flags: 9),
                .info(.req, count: 1, flags: 9), .badInfo(.none, .errno("EINVAL")),
            ]),
        VFIORule(
            "counts and flags of e1000e", .e1000e,
            [
                .info(.intx, count: 1, flags: 7), .info(.msi, count: 1, flags: 9),
                .info(.msix, count: 5, flags: 1, before6dot5: 9), .info(.err, count: 1, flags: 9),
            ]),
        VFIORule("counts and flags of nvme", .nvme, [.info(.msix, count: 2048, flags: 1, before6dot5: 9)]),
        VFIORule("counts and flags of xhci", .xhci, [.info(.msi, count: 16, flags: 9)]),
    ]

    // MARK: Checks before the type is looked at (vfio_main.c), in their order

    static let validation = [
        VFIORule(
            "an index without vectors refuses everything", .edu,
            [
                .set(.msix, .trigger, .eventfds([0]), .errno("EINVAL")),
                .set(.msix, .trigger, .none(count: 0), .errno("EINVAL")),
            ]),
        VFIORule(
            "sizes, indexes, ranges and flags that do not fit are EINVAL", .e1000e,
            [
                .set(.msix, .trigger, .none(count: 1), size: 19, .errno("EINVAL")),
                .set(.none, .trigger, .none(count: 1), .errno("EINVAL")),
                .set(.msix, .trigger, .none(count: .max), .errno("EINVAL")),
                .set(.msix, .trigger, .none(count: 1), start: .max, .errno("EINVAL")),
                .set(.msix, .trigger, .none(count: 1), start: 5, .errno("EINVAL")),
                .set(.msix, .trigger, .none(count: 6), .errno("EINVAL")),
                .set(.msix, .trigger, .none(count: 2), start: 4, .errno("EINVAL")),
                .set(.msix, .trigger, .eventfds([0, 1]), size: 24, .errno("EINVAL")),
                .set(.msix, .trigger, .malformed(flags: 3, count: 1), .errno("EINVAL")),
                .set(.msix, .trigger, .malformed(flags: 0, count: 1), .errno("EINVAL")),
                .set(.msix, .trigger, .malformed(flags: 0x41, count: 1), .errno("EINVAL")),
            ]),
        VFIORule(
            "a wrong range hides a wrong action", .e1000e,
            [
                .set(.msix, .mask, .none(count: 6), .errno("EINVAL")),
                .set(.msix, .mask, .none(count: 1), .errno("ENOTTY")),
                .set(.msix, [], .none(count: 1), .errno("ENOTTY")),
                .set(.msix, [.mask, .trigger], .none(count: 1), .errno("ENOTTY")),
            ]),
    ]

    // MARK: INTx (vfio_pci_intrs.c, vfio_pci_set_intx_*)

    static let line = [
        VFIORule(
            "INTx off refuses all but being turned on", .edu,
            [
                .set(.intx, .mask, .none(count: 1), .errno("EINVAL")),
                .set(.intx, .mask, .eventfds([0]), .errno("EINVAL")),
                .set(.intx, .unmask, .none(count: 1), .errno("EINVAL")),
                .set(.intx, .unmask, .eventfds([0]), .errno("EINVAL")),
                .set(.intx, .trigger, .none(count: 1), .errno("EINVAL")),
                .set(.intx, .trigger, .none(count: 0), .errno("EINVAL")),
                .set(.intx, .trigger, .eventfds([0]), .ok),
                .set(.intx, .trigger, .none(count: 1), .ok), .counts([0: 1]),
            ]),
        VFIORule(
            "INTx is turned off once", .edu,
            [
                .set(.intx, .trigger, .eventfds([0]), .ok), .set(.intx, .trigger, .none(count: 0), .ok),
                .set(.intx, .trigger, .none(count: 0), .errno("EINVAL")),
                .set(.intx, .trigger, .none(count: 1), .errno("EINVAL")), .counts([:]),
            ]),
        VFIORule(
            "INTx masks and unmasks any number of times, but not by a mask eventfd", .edu,
            [
                .set(.intx, .trigger, .eventfds([0]), .ok),
                .set(.intx, .mask, .none(count: 1), .ok), .set(.intx, .mask, .bools([1]), .ok),
                .set(.intx, .unmask, .none(count: 1), .ok), .set(.intx, .unmask, .bools([0]), .ok),
                .set(.intx, .mask, .eventfds([1]), .errno("ENOTTY")),
                .counts([:]),
            ]),
        VFIORule(
            "one unmask eventfd at a time", .edu,
            [
                .set(.intx, .trigger, .eventfds([0]), .ok), .set(.intx, .unmask, .eventfds([1]), .ok),
                .set(.intx, .unmask, .eventfds([1]), .errno("EBUSY")),
                .set(.intx, .unmask, .eventfds([2]), .errno("EBUSY")),
                .set(.intx, .unmask, .eventfds([.raw(-1)]), .ok), .set(.intx, .unmask, .eventfds([2]), .ok),
                .set(.intx, .trigger, .none(count: 0), .ok),
            ]),
        VFIORule(
            "the unmask eventfd's count is taken", .edu,
            [
                .set(.intx, .trigger, .eventfds([0]), .ok), .set(.intx, .unmask, .eventfds([1]), .ok), .signal(1),
                .set(.intx, .mask, .none(count: 1), .ok), .counts([:]),
            ]),
        VFIORule(
            "loopback ignores the mask and zero bools", .edu,
            [
                .set(.intx, .trigger, .eventfds([0]), .ok), .set(.intx, .mask, .none(count: 1), .ok),
                .set(.intx, .trigger, .none(count: 1), .ok), .counts([0: 1]),
                .set(.intx, .trigger, .bools([0]), .ok), .counts([:]),
                .set(.intx, .trigger, .bools([1]), .ok), .counts([0: 1]),
            ]),
        VFIORule(
            "the trigger of INTx is swapped live", .edu,
            [
                .set(.intx, .trigger, .eventfds([0]), .ok), .set(.intx, .trigger, .eventfds([1]), .ok),
                .set(.intx, .trigger, .none(count: 1), .ok), .counts([1: 1]),
            ]),
        VFIORule(
            "a refused swap of INTx's trigger leaves the one before", .edu,
            [
                .set(.intx, .trigger, .eventfds([0]), .ok),
                .set(.intx, .trigger, .eventfds([.otherFile]), .errno("EINVAL")),
                .set(.intx, .trigger, .eventfds([.raw(100_000)]), .errno("EBADF")),
                .set(.intx, .trigger, .none(count: 1), .ok), .counts([0: 1]),
            ]),
        VFIORule(
            "a failed enable of INTx leaves it off", .edu,
            [
                .set(.intx, .trigger, .eventfds([.otherFile]), .errno("EINVAL")),
                .set(.intx, .trigger, .eventfds([.raw(100_000)]), .errno("EBADF")),
                .set(.intx, .trigger, .none(count: 0), .errno("EINVAL")),
                .set(.msi, .trigger, .eventfds([0]), .ok),
            ]),
    ]

    // MARK: INTx disable in the Command register (vfio_pci_config.c, vfio_basic_config_write)

    static let command = [
        VFIORule(
            "INTx disable drops the loopback, and no unmask lifts it", .edu,
            [
                .set(.intx, .trigger, .eventfds([0]), .ok), .set(.intx, .unmask, .eventfds([1]), .ok),
                .command(intxDisable: true),
                .set(.intx, .trigger, .none(count: 1), .ok), .counts([:]),
                .set(.intx, .unmask, .none(count: 1), .ok), .signal(1),
                .set(.intx, .trigger, .none(count: 1), .ok), .counts([:]),
                .command(intxDisable: false),
                .set(.intx, .trigger, .none(count: 1), .ok), .counts([0: 1]),
            ]),
        VFIORule(
            "a level that comes while INTx is disabled is signalled once it is not", .edu,
            [
                .set(.intx, .trigger, .eventfds([0]), .ok), .command(intxDisable: true),
                .line(asserted: true), .counts([:]), .set(.intx, .unmask, .none(count: 1), .ok), .counts([:]),
                .command(intxDisable: false), .arrivals([0: 1]), .counts([:]),
                .line(asserted: false), .set(.intx, .unmask, .none(count: 1), .ok), .counts([:]),
            ]),
        VFIORule(
            "a level that goes away while INTx is disabled is not signalled", .edu,
            [
                .set(.intx, .trigger, .eventfds([0]), .ok), .command(intxDisable: true),
                .line(asserted: true), .line(asserted: false), .command(intxDisable: false), .counts([:]),
                .line(asserted: true), .arrivals([0: 1]), .line(asserted: false),
            ]),
        VFIORule(
            "clearing INTx disable lifts a mask that was there before", .edu,
            [
                .set(.intx, .trigger, .eventfds([0]), .ok), .set(.intx, .mask, .none(count: 1), .ok),
                .command(intxDisable: true), .command(intxDisable: false),
                .line(asserted: true), .arrivals([0: 1]), .line(asserted: false),
            ]),
        VFIORule(
            "Command written without a change of INTx disable leaves the mask", .edu,
            [
                .set(.intx, .trigger, .eventfds([0]), .ok), .set(.intx, .mask, .none(count: 1), .ok),
                .command(intxDisable: false), .line(asserted: true), .counts([:]),
                .set(.intx, .unmask, .none(count: 1), .ok), .arrivals([0: 1]), .line(asserted: false),
            ]),
        VFIORule(
            "INTx that is turned on while disabled is masked", .edu,
            [
                .command(intxDisable: true), .set(.intx, .trigger, .eventfds([0]), .ok),
                .line(asserted: true), .counts([:]), .command(intxDisable: false), .arrivals([0: 1]),
                .line(asserted: false),
            ]),
        VFIORule(
            "closing the device forgets INTx disable", .edu,
            [
                .command(intxDisable: true), .closeDevice, .device(.ok), .set(.intx, .trigger, .eventfds([0]), .ok),
                .set(.intx, .trigger, .none(count: 1), .ok), .counts([0: 1]),
            ]),
    ]

    // MARK: MSI and MSI-X alike

    static let messages = [
        VFIORule(
            "MSI-X off refuses loopback and being turned off, and never masks", .e1000e,
            [
                .set(.msix, .trigger, .none(count: 1), .errno("EINVAL")),
                .set(.msix, .trigger, .none(count: 0), .errno("EINVAL")),
                .set(.msix, .mask, .none(count: 1), .errno("ENOTTY")),
                .set(.msix, .trigger, .eventfds([0]), .ok),
                .set(.msix, .mask, .none(count: 1), .errno("ENOTTY")),
                .set(.msix, .unmask, .none(count: 1), .errno("ENOTTY")),
                .set(.msix, .unmask, .eventfds([1]), .errno("ENOTTY")),
                .set(.msix, .trigger, .none(count: 0), .ok),
                .set(.msix, .trigger, .none(count: 0), .errno("EINVAL")),
            ]),
        VFIORule(
            "one type at a time, and no switch by itself", .e1000e,
            [
                .set(.intx, .trigger, .eventfds([0]), .ok),
                .set(.msi, .trigger, .eventfds([1]), .errno("EINVAL")),
                .set(.msix, .trigger, .eventfds([1]), .errno("EINVAL")),
                .set(.msix, .trigger, .none(count: 0), .errno("EINVAL")),
                .set(.intx, .trigger, .none(count: 0), .ok), .set(.msi, .trigger, .eventfds([1]), .ok),
                .set(.intx, .trigger, .eventfds([0]), .errno("EINVAL")),
                .set(.intx, .mask, .none(count: 1), .errno("EINVAL")),
                .set(.msix, .trigger, .eventfds([0]), .errno("EINVAL")),
                .set(.msi, .trigger, .none(count: 1), .ok), .counts([1: 1]),
                .set(.msi, .trigger, .none(count: 0), .ok), .set(.msix, .trigger, .eventfds([0]), .ok),
            ]),
        VFIORule(
            "loopback reaches each vector of its range alone, and passes over those without eventfd", .e1000e,
            [
                .set(.msix, .trigger, .eventfds([0, 1, .raw(-1), 3, 4]), .ok),
                .set(.msix, .trigger, .none(count: 1), start: 3, .ok), .counts([3: 1]),
                .set(.msix, .trigger, .none(count: 3), start: 1, .ok), .counts([1: 1, 3: 1]),
                .set(.msix, .trigger, .bools([1, 0, 1, 0, 1]), .ok), .counts([0: 1, 4: 1]),
            ]),
        VFIORule(
            "turning on with no vector is ERANGE, and none while on is nothing", .e1000e,
            [
                .set(.msix, .trigger, .eventfds([]), .errno("ERANGE")),
                .set(.msix, .trigger, .none(count: 0), .errno("EINVAL")),
                .set(.msix, .trigger, .eventfds([0]), .ok), .set(.msix, .trigger, .eventfds([]), .ok),
                .set(.msix, .trigger, .none(count: 1), .ok), .counts([0: 1]),
            ]),
        VFIORule(
            "an empty range that starts behind vectors turns on with those, none wired", .e1000e,
            [
                .set(.msix, .trigger, .eventfds([]), start: 2, .when(.linux6dot5, .ok, else: .errno("EINVAL"))),
                .set(.msix, .trigger, .none(count: 2), .when(.linux6dot5, .ok, else: .errno("EINVAL"))),
                .counts([:]),
                .set(.msix, .trigger, .eventfds([1]), start: 1, .ok),
                .set(.msix, .trigger, .none(count: 2), .ok), .counts([1: 1]),
            ]),
        VFIORule(
            "every negative descriptor is none", .e1000e,
            [
                .set(.msix, .trigger, .eventfds([.raw(-7)]), .ok), .set(.msix, .trigger, .none(count: 1), .ok),
                .set(.msix, .trigger, .none(count: 0), .ok),
            ]),
        VFIORule(
            "all descriptors taken away leave the type on", .e1000e,
            [
                .set(.msix, .trigger, .eventfds([0, 1]), .ok),
                .set(.msix, .trigger, .eventfds([.raw(-1), .raw(-1)]), .ok),
                .set(.msix, .trigger, .none(count: 2), .ok), .counts([:]),
                .set(.intx, .trigger, .eventfds([0]), .errno("EINVAL")),
                .set(.msix, .trigger, .none(count: 0), .ok),
            ]),
        VFIORule(
            "one eventfd on two vectors counts both", .e1000e,
            [
                .set(.msix, .trigger, .eventfds([0, 0]), .ok), .set(.msix, .trigger, .none(count: 2), .ok),
                .counts([0: 2]),
            ]),
    ]

    // MARK: MSI-X tables

    static let table = [
        VFIORule(
            "a failing vector takes those before it in the call along, wired before or not, and leaves the others",
            .e1000e,
            [
                .set(.msix, .trigger, .eventfds([0, 1, 2, 3, 4]), .ok),
                .set(.msix, .trigger, .eventfds([5, 6, .raw(100_000), 7]), .errno("EBADF")),
                .set(.msix, .trigger, .none(count: 5), .ok), .counts([3: 1, 4: 1]),
            ]),
        VFIORule(
            "a failing enable leaves the type off", .e1000e,
            [
                .set(.msix, .trigger, .eventfds([0, .otherFile]), .errno("EINVAL")),
                .set(.msix, .trigger, .none(count: 0), .errno("EINVAL")),
                .set(.intx, .trigger, .eventfds([0]), .ok),
            ]),
        VFIORule(
            "vectors beyond those allocated can be added where the table is dynamic", .e1000e,
            [
                .set(.msix, .trigger, .eventfds([.raw(-1)]), .ok),
                .set(.msix, .trigger, .eventfds([4]), start: 4, .when(.linux6dot5, .ok, else: .errno("EINVAL"))),
                .set(.msix, .trigger, .eventfds([0]), .ok),
                .set(.msix, .trigger, .none(count: 1), .ok), .counts([0: 1]),
            ]),
        VFIORule(
            "a hole in the range is fine and can be filled", .e1000e,
            [
                .set(.msix, .trigger, .eventfds([2]), start: 2, .ok),
                .set(.msix, .trigger, .none(count: 3), .ok), .counts([2: 1]),
                .set(.msix, .trigger, .eventfds([0]), .ok),
                .set(.msix, .trigger, .none(count: 3), .ok), .counts([0: 1, 2: 1]),
            ]),
        VFIORule(
            "more vectors than the host has are ENOSPC and leave the type off", .nvme,
            [
                .set(.msix, .trigger, .eventfds(Array(repeating: 0, count: 2048)), .errno("ENOSPC")),
                .set(.msix, .trigger, .none(count: 0), .errno("EINVAL")),
                .set(.msix, .trigger, .eventfds(Array(repeating: 0, count: 64)), .ok),
                .set(.msix, .trigger, .none(count: 64), .ok), .counts([0: 64]),
            ]),
        VFIORule(
            "a whole table without descriptors takes no host vector", .nvme,
            [
                .set(.msix, .trigger, .eventfds(Array(repeating: .raw(-1), count: 2048)), .ok),
                .set(.msix, .trigger, .eventfds([0]), start: 2047, .ok),
                .set(.msix, .trigger, .none(count: 1), start: 2047, .ok), .counts([0: 1]),
            ]),
        VFIORule(
            "vectors that lose their descriptors give host vectors back", .nvme,
            (0..<4).flatMap { _ in
                [
                    VFIORule.Step.set(.msix, .trigger, .eventfds(Array(repeating: 0, count: 200)), .ok),
                    .set(.msix, .trigger, .eventfds(Array(repeating: .raw(-1), count: 200)), .ok),
                ]
            }),
    ]

    // MARK: MSI blocks

    static let blocks = [
        VFIORule(
            "a block without remapping is one vector, said by a positive result, and nothing is on", .xhci,
            [
                .set(
                    .msi, .trigger, .eventfds((0..<16).map { .eventfd($0) }),
                    .when(.interruptRemapping, .ok, else: .available(1))),
                .set(.msi, .trigger, .none(count: 16), .when(.interruptRemapping, .ok, else: .errno("EINVAL"))),
                .set(.msi, .trigger, .none(count: 0), .when(.interruptRemapping, .ok, else: .errno("EINVAL"))),
                .set(.msi, .trigger, .eventfds([20]), .ok), .set(.msi, .trigger, .none(count: 1), .ok),
                .set(.msi, .trigger, .eventfds([21]), start: 1, .errno("EINVAL")),
            ])
    ]

    // MARK: ERR and REQ (vfio_pci_set_ctx_trigger_single)

    static let single = [
        VFIORule(
            "REQ is set, signalled and cleared apart from the types", .edu,
            [
                .set(.req, .trigger, .none(count: 1), .errno("EINVAL")),
                .set(.req, .trigger, .bools([1]), .ok),
                .set(.req, .trigger, .none(count: 0), .errno("EINVAL")),
                .set(.req, .mask, .none(count: 1), .errno("ENOTTY")),
                .set(.req, .trigger, .eventfds([0]), .ok), .set(.msi, .trigger, .eventfds([1]), .ok),
                .set(.req, .trigger, .none(count: 1), .ok), .counts([0: 1]),
                .set(.msi, .trigger, .none(count: 0), .ok),
                .set(.req, .trigger, .bools([1]), .ok), .counts([0: 1]),
                .set(.req, .trigger, .eventfds([2]), .ok), .set(.req, .trigger, .none(count: 1), .ok),
                .counts([2: 1]),
                .set(.req, .trigger, .eventfds([]), .errno("EINVAL")),
                .set(.req, .trigger, .none(count: 0), .ok),
                .set(.req, .trigger, .none(count: 1), .errno("EINVAL")),
            ]),
        VFIORule(
            "ERR is there for PCI Express, and from 7.3 on for all", .edu,
            [
                .badInfo(.err, .when(.linux7dot3, .ok, else: .errno("EINVAL"))),
                .set(.err, .trigger, .eventfds([0]), .when(.linux7dot3, .ok, else: .errno("EINVAL"))),
                .set(.err, .trigger, .eventfds([.raw(-1)]), .when(.linux7dot3, .ok, else: .errno("EINVAL"))),
            ]),
        VFIORule(
            "ERR and REQ stand beside each other and a live type, and outlive its end and a reset", .e1000e,
            [
                .set(.msix, .trigger, .eventfds([0, 1]), .ok),
                .set(.err, .trigger, .eventfds([2]), .ok), .set(.req, .trigger, .eventfds([3]), .ok),
                .set(.msix, .trigger, .none(count: 0), .ok), .set(.intx, .trigger, .eventfds([0]), .ok),
                .reset(.ok),
                .set(.err, .trigger, .none(count: 1), .ok), .counts([2: 1]),
                .set(.req, .trigger, .bools([1]), .ok), .counts([3: 1]),
                .set(.err, .trigger, .none(count: 0), .ok),
                .set(.req, .trigger, .none(count: 1), .ok), .counts([3: 1]),
            ]),
        VFIORule(
            "-1 takes away what REQ has, set or not; no other number and no other file does", .edu,
            [
                .set(.req, .trigger, .eventfds([.raw(-1)]), .ok), .set(.req, .trigger, .eventfds([0]), .ok),
                .set(.req, .trigger, .eventfds([.otherFile]), .errno("EINVAL")),
                .set(.req, .trigger, .eventfds([.raw(100_000)]), .errno("EBADF")),
                // Seen: ok on Debian's 6.1, EINVAL on its 6.12.
                .set(.req, .trigger, .eventfds([.raw(-7)]), .either(.ok, .errno("EINVAL"))),
                .set(.req, .trigger, .none(count: 1), .ok), .counts([0: 1]),
                .set(.req, .trigger, .eventfds([.raw(-1)]), .ok),
                .set(.req, .trigger, .none(count: 1), .errno("EINVAL")), .counts([:]),
            ]),
        VFIORule(
            "closing the device takes away what ERR and REQ have", .e1000e,
            [
                .set(.err, .trigger, .eventfds([0]), .ok), .set(.req, .trigger, .eventfds([1]), .ok),
                .closeDevice, .device(.ok),
                .set(.err, .trigger, .none(count: 1), .errno("EINVAL")),
                .set(.req, .trigger, .none(count: 1), .errno("EINVAL")), .counts([:]),
            ]),
    ]

    // MARK: What outlives what

    static let lifetime = [
        VFIORule(
            "reset keeps the type and the eventfds", .e1000e,
            [
                .set(.msix, .trigger, .eventfds([0, 1]), .ok), .reset(.ok),
                .set(.msix, .trigger, .none(count: 2), .ok), .counts([0: 1, 1: 1]),
            ]),
        VFIORule("a device without a reset says so", .edu, [.reset(.errno("EINVAL"))]),
        VFIORule(
            "closing the device turns its interrupts off", .e1000e,
            [
                .set(.msix, .trigger, .eventfds([0]), .ok), .closeDevice, .device(.ok),
                .set(.msix, .trigger, .none(count: 0), .errno("EINVAL")), .set(.msi, .trigger, .eventfds([1]), .ok),
            ]),
        VFIORule(
            "an open device outlives its group and container descriptors", .edu,
            [
                .closeGroup, .closeContainer, .set(.msi, .trigger, .eventfds([0]), .ok),
                .set(.msi, .trigger, .none(count: 1), .ok), .counts([0: 1]),
            ]),
    ]
}
