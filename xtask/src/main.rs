//! The tool around Vigil.
fn main() {}
