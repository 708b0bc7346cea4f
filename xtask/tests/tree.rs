//! What must be true of the source tree itself.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The text of all Rust files below `folder`, build directories left out.
fn sources(folder: &Path, out: &mut String) {
    for entry in fs::read_dir(folder).expect("a folder of the tree can be read") {
        let path = entry.expect("and its entries").path();
        let name = path.file_name().unwrap_or_default();
        if path.is_dir() && name != "target" && !path.join("Cargo.toml").exists() {
            sources(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push_str(&fs::read_to_string(&path).expect("a source file is text"));
        }
    }
}

/// The names that a manifest's tables of dependencies declare.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut inside = false;
    let mut names = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.trim_end_matches(']').ends_with("dependencies") && !line.starts_with("[workspace");
        } else if inside && let Some((name, _)) = line.split_once(['=', '.']) {
            names.push(name.trim().replace('-', "_"));
        }
    }
    names.retain(|n| !n.is_empty() && !n.starts_with('#'));
    names
}

/// Whether `text` has a path that begins with `name`.
fn uses(text: &str, name: &str) -> bool {
    let path = format!("{name}::");
    text.match_indices(&path).any(|(at, _)| !text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
}

#[test]
fn a_dependency_that_is_declared_is_used() {
    let top = fs::read_to_string(root().join("Cargo.toml")).expect("the workspace has a manifest");
    let members = top.split_once("members = [").and_then(|(_, rest)| rest.split_once(']')).expect("and members").0;
    let members: Vec<&str> = members.split(',').map(|m| m.trim().trim_matches('"')).collect();
    assert!(members.len() >= 8, "{members:?}");
    let mut unused = Vec::new();
    for member in members {
        let folder = root().join(member);
        let mut text = String::new();
        sources(&folder, &mut text);
        for name in dependencies(&fs::read_to_string(folder.join("Cargo.toml")).expect("a member has a manifest")) {
            if !uses(&text, &name) {
                unused.push(format!("{member}: {name}"));
            }
        }
    }
    assert!(unused.is_empty(), "declared without a use: {unused:?}");
}
