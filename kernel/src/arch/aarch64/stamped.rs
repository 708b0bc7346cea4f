//! The assembler's side of the stamps at interrupts' vectors (`vigil_executor::trace`, twins).

/// An assembler's macro `$name` for an instruction at an interrupt's vector whose twin notes when that was, see
/// `vigil_executor::trace`, and may toggle a pin. What is in x0 and x1 may go after the instruction.
macro_rules! stamped {
    ($name:literal) => {
        concat!(
            "    .macro ",
            $name,
            r#" instruction
771:
    \instruction
772:
    .pushsection .text.stamps, "ax"
773:
    \instruction
    mrs     x0, cntvct_el0
    mrs     x1, tpidr_el1
    str     x0, [x1, #{VECTOR_AT}]
774:
    nop
    b       772b
    .popsection
    .pushsection .text.pins, "ax"
775:
"#,
            vigil_executor::toggle_pin!("x0", "x1", "w1", "PIN_VECTOR"),
            r#"
776:
    b       774b + 4
    .popsection
    .pushsection .trace_sites, "a"
    .balign 4
    .long   774b - .
    .long   775b - .
    .long   {KEY_PINS}
    .popsection
    .pushsection .trace_sites, "a"
    .balign 4
    .long   771b - .
    .long   773b - .
    .long   {KEY_STAMPS}
    .popsection
    .endm
"#
        )
    };
}
pub(super) use stamped;
