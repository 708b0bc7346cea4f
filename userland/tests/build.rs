//! Takes the list of calls from the kernel's own table, so that a call without cases is found, and gives each its number.
use std::fmt::Write;

/// Calls that the cases use as tools besides those of the table.
const TOOLS: [&str; 0] = [];

fn main() {
    let table = format!("{}/../../kernel/src/syscall/table.rs", std::env::var("CARGO_MANIFEST_DIR").expect("set by cargo"));
    println!("cargo::rerun-if-changed={table}");
    println!("cargo::rerun-if-changed=build.rs");
    let text = std::fs::read_to_string(&table).expect("the kernel's table of calls");
    let body = text.split_once("\ncalls! {").expect("the table's macro call").1.split_once("\n}").expect("its end").0;
    let names: Vec<&str> =
        body.lines().filter_map(|line| line.trim().split_once(": ")).map(|(name, _)| name).filter(|n| !n.starts_with("//")).collect();
    assert!(names.len() > 100, "only {} calls in {table}", names.len());
    let mut code = String::from("/// The calls of the kernel's table.\npub const PRESENT: &[&str] = &[\n");
    for name in &names {
        writeln!(code, "    {name:?},").expect("a string takes it");
    }
    code.push_str("];\n\n/// Numbers of the calls.\n#[allow(unused_imports, reason = \"a call may be made in assembly\")]\npub mod nr {\n");
    for name in names.iter().copied().chain(TOOLS) {
        writeln!(code, "    pub use libc::SYS_{name} as {name};").expect("a string takes it");
    }
    code.push_str("}\n");
    let out = format!("{}/present.rs", std::env::var("OUT_DIR").expect("set by cargo"));
    std::fs::write(out, code).expect("cargo's directory is writable");
}
