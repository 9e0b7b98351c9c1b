import LinuxSystem
import TestSupport
import Testing

@Suite("KVM's rules")
struct KVMRuleTests {
    @Test("the fake KVM holds to the kernel's rule", arguments: KVMRule.all)
    func fake(rule: KVMRule) throws {
        let kernel = FakeKernel()
        kernel.install(FakeKVM(), at: "/dev/kvm")
        let bench = try KVMBench(kernel, withControllers: rule.withControllers)
        try rule.steps(bench)
        #expect(bench.log == rule.expected)
    }

    @Test(
        "the running kernel's KVM holds to the rule", .enabled(if: Requirements.kvm, "needs /dev/kvm"),
        arguments: KVMRule.all)
    func live(rule: KVMRule) throws {
        let bench = try KVMBench(LiveKernel(), withControllers: rule.withControllers)
        try rule.steps(bench)
        #expect(bench.log == rule.expected)
    }
}
