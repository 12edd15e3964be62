//! No declaration exists unproved (invariant 2): what would make one does not compile.

#[test]
fn a_declaration_can_be_neither_forged_nor_deserialized_nor_changed() {
    trybuild::TestCases::new().compile_fail("tests/forged/*.rs");
}
