extension Wire {
    /// What an operation does.
    public struct Plan: Codable, Hashable, Sendable {
        /// In order.
        public var steps: [Step]
        /// What stands against it.
        public var blockers: [Blocker]

        /// Creates a value.
        public init(steps: [Step], blockers: [Blocker]) {
            self.steps = steps
            self.blockers = blockers
        }
    }

    /// One change to the host.
    public struct Step: Codable, Hashable, Sendable {
        /// What is done.
        public var action: String
        /// To what.
        public var target: String
        /// With which value.
        public var value: String?

        /// Creates a value.
        public init(action: String, target: String, value: String?) {
            self.action = action
            self.target = target
            self.value = value
        }
    }

    /// Something that stands against an operation.
    public struct Blocker: Codable, Hashable, Sendable {
        /// Its stable code.
        public var code: String
        /// One sentence.
        public var message: String
        /// Where it was seen.
        public var evidence: String
        /// What would clear it.
        public var remedy: String
        /// Whether consent overrides it.
        public var consent: Bool
        /// What to name in consent then.
        public var consentAs: String?
        /// The sibling that it is about.
        public var member: String?

        /// Creates a value.
        public init(
            code: String, message: String, evidence: String, remedy: String, consent: Bool, consentAs: String? = nil,
            member: String? = nil
        ) {
            self.code = code
            self.message = message
            self.evidence = evidence
            self.remedy = remedy
            self.consent = consent
            self.consentAs = consentAs
            self.member = member
        }
    }
}
