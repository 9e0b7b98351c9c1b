extension VFIORules {
    // MARK: Memory that devices see (vfio_iommu_type1.c)

    static let memory = [
        VFIORule(
            opening: "memory is mapped only with an IOMMU", .edu,
            [
                .container(.ok), .map(0x10_0000, size: 0x1000, .errno("EINVAL")), .group(.ok), .setContainer(.ok),
                .map(0x10_0000, size: 0x1000, .errno("EINVAL")), .setIOMMU(.ok),
                .map(0x10_0000, size: 0x1000, .ok), .device(.ok),
            ]),
        VFIORule(
            "what is mapped is not mapped again, and goes whole", .edu,
            [
                .map(0x10_0000, size: 0x4000, .ok), .map(0x10_0000, size: 0x4000, .errno("EEXIST")),
                .map(0x10_3000, size: 0x2000, .errno("EEXIST")), .map(0x10_4000, size: 0x1000, flags: 1, .ok),
                .unmap(0x10_0000, size: 0x1000, bytes: 0x1000, .errno("EINVAL")),
                .unmap(0x10_3000, size: 0x2000, bytes: 0x2000, .errno("EINVAL")),
                .unmap(0x10_0000, size: 0x5000, bytes: 0x5000, .ok), .unmap(0x10_0000, size: 0x5000, bytes: 0, .ok),
                .map(0x10_0000, size: 0x1000, .ok),
            ]),
        VFIORule(
            "sizes, addresses and flags that cannot be are EINVAL, or EOVERFLOW for a range beyond all addresses", .edu,
            [
                .map(0x10_0000, size: 0, .errno("EINVAL")), .map(0x10_0001, size: 0x1000, .errno("EINVAL")),
                .map(0x10_0000, size: 0xfff, .errno("EINVAL")),
                .map(0x10_0000, size: 0x1000, memory: 1, .errno("EINVAL")),
                .map(0x10_0000, size: 0x1000, flags: 0, .errno("EINVAL")),
                .map(0x10_0000, size: 0x1000, flags: 1 << 31 | 3, .errno("EINVAL")),
                .map(
                    0xffff_ffff_ffff_f000, size: 0x2000, .either(.errno("EINVAL"), .errno("EOVERFLOW"))),
                .unmap(0x10_0001, size: 0x1000, bytes: 0x1000, .errno("EINVAL")),
                .unmap(0x10_0000, size: 0xfff, bytes: 0xfff, .errno("EINVAL")),
            ]),
        VFIORule(
            "what is mapped goes with the container", .edu,
            [
                .map(0x10_0000, size: 0x1000, .ok), .closeDevice, .closeGroup, .closeContainer, .container(.ok),
                .group(.ok), .setContainer(.ok), .setIOMMU(.ok), .map(0x10_0000, size: 0x1000, .ok),
            ]),
    ]
}
