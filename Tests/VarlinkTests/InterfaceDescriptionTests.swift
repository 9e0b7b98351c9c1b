import Testing
import Varlink

@Suite("Interface description")
struct InterfaceDescriptionTests {
    @Test("types, methods and errors are read with all their forms")
    func allForms() throws {
        let description = try InterfaceDescription(
            parsing: """
                # A comment (with: marks)
                interface org.example.more # behind code
                type Mode (on, off)
                type Thing (name: string, modes: []Mode, table: ?[string]int, inner: ?(a: bool, b: [](c: float)))
                method Do(thing: Thing, raw: object)->(thing: ?Thing)
                method Nothing() -> ()
                error Broken (reason: string)
                """)
        #expect(description.name == "org.example.more")
        #expect(description.types["Mode"] == .enumeration(["on", "off"]))
        #expect(
            description.types["Thing"]
                == .structure([
                    VarlinkField(name: "name", type: .string),
                    VarlinkField(name: "modes", type: .array(.named("Mode"))),
                    VarlinkField(name: "table", type: .optional(.map(.int))),
                    VarlinkField(
                        name: "inner",
                        type: .optional(
                            .structure([
                                VarlinkField(name: "a", type: .bool),
                                VarlinkField(
                                    name: "b", type: .array(.structure([VarlinkField(name: "c", type: .float)]))),
                            ]))),
                ]))
        #expect(description.methods["Nothing"]?.input.isEmpty == true)
        #expect(description.methods["Do"]?.output == [VarlinkField(name: "thing", type: .optional(.named("Thing")))])
        #expect(description.errors["Broken"] == [VarlinkField(name: "reason", type: .string)])
    }

    @Test(
        "what is no description is refused with its line",
        arguments: [
            ("", 1), ("interface nodot", 1), ("interface a.b\ntype lower (a: int)", 2),
            ("interface a.b\nmethod M() -> (a: Missing)", 2), ("interface a.b\ntype T (a: int)\ntype T (b: int)", 3),
            ("interface a.b\ntype T (a: int, a: int)", 2), ("interface a.b\ntype T (a: int, b)", 2),
            ("interface a.b\ntype T (a: ??int)", 2), ("interface a.b\n\nmethod M()", 3),
            ("interface a.b\nmethod M(x, y) -> ()", 2), ("interface a.b\ntype T (a_: int)", 2),
            ("interface a.b\nnonsense N ()", 2),
        ])
    func refused(text: String, line: Int) {
        let error = #expect(throws: InterfaceDescription.ParseError.self) {
            _ = try InterfaceDescription(parsing: text)
        }
        #expect(error?.line == line)
    }

    @Test("types that nest without end do not overflow the stack")
    func deepTypes() {
        let text = "interface a.b\ntype T (a: " + String(repeating: "[]", count: 100_000) + "int)"
        #expect(throws: InterfaceDescription.ParseError.self) { _ = try InterfaceDescription(parsing: text) }
    }
}
