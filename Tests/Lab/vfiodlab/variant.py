"""Which host is booted: its kernel, and what its IOMMU can do."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Variant:
    kernel: str = "6.12"
    iommu: bool = True
    intremap: bool = True

    @property
    def name(self):
        parts = [f"kernel {self.kernel}"]
        if not self.iommu:
            parts.append("no IOMMU")
        elif not self.intremap:
            parts.append("no interrupt remapping")
        return ", ".join(parts)

    def machine_arguments(self):
        if not self.iommu:
            return []
        remap = "intremap=on,eim=on" if self.intremap else "intremap=off,eim=off"
        return ["-device", f"intel-iommu,{remap}"]

    def kernel_arguments(self):
        return "intel_iommu=on iommu=nopt" if self.iommu else "intel_iommu=off"


def of_options(options):
    return Variant(options.kernel, not options.no_iommu, not options.no_intremap)
