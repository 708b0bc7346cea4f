//! Guarantees and their tests: each test must pass on the tree as it stands, and fail when the bug of `tests/mutants` that belongs to
//! it is planted in a copy of the tree. The format of a mutant is told in `tests/mutants/README.md`.
use crate::ctx::Ctx;
use crate::test::{Tally, line};
use crate::ui;
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// How many seconds a test may take.
const PATIENCE: u32 = 120;
/// With a mutant, which may make it wait for ever, so many at least,
const LEAST_PATIENCE: f32 = 10.0;
/// and so many times what it takes without.
const SLOWER: f32 = 20.0;
/// How many seconds building may take.
const BUILD: u32 = 1800;

/// Lines to take out of a file, and those to put in their place.
#[derive(Default, PartialEq, Eq, Debug)]
struct Change {
    file: String,
    old: Vec<String>,
    new: Vec<String>,
}

/// A planted bug.
#[derive(Default, Debug)]
struct Mutant {
    name: String,
    guarantee: String,
    /// The arguments of `cargo test`.
    test: Vec<String>,
    loom: bool,
    changes: Vec<Change>,
}

impl Mutant {
    fn parse(name: &str, text: &str) -> Result<Mutant> {
        let mut mutant = Mutant { name: name.to_string(), ..Mutant::default() };
        let mut file = None;
        for (number, line) in text.lines().enumerate() {
            let wrong = || format!("line {}: {line:?}", number + 1);
            if let Some(old) = line.strip_prefix('-') {
                // Old lines behind new ones begin another change.
                if mutant.changes.last().is_none_or(|c| !c.new.is_empty() || Some(&c.file) != file.as_ref()) {
                    mutant.changes.push(Change { file: file.clone().with_context(wrong)?, ..Change::default() });
                }
                mutant.changes.last_mut().with_context(wrong)?.old.push(old.trim().to_string());
            } else if let Some(new) = line.strip_prefix('+') {
                mutant.changes.last_mut().with_context(wrong)?.new.push(new.trim().to_string());
            } else if let Some((key, value)) = line.split_once(": ") {
                let words = || value.split_whitespace().map(str::to_string).collect();
                match key {
                    "guarantee" => mutant.guarantee = value.trim().to_string(),
                    "test" => mutant.test = words(),
                    "loom" => (mutant.test, mutant.loom) = (words(), true),
                    "file" => file = Some(value.trim().to_string()),
                    _ => bail!(wrong()),
                }
            } else if !line.trim().is_empty() {
                bail!(wrong());
            }
        }
        ensure!(
            !mutant.guarantee.is_empty() && !mutant.test.is_empty() && !mutant.changes.is_empty(),
            "guarantee, test or change is missing"
        );
        Ok(mutant)
    }

    /// What its test is known by.
    fn key(&self) -> (bool, &[String]) {
        (self.loom, &self.test)
    }

    /// `cargo test` of the mutant's test, in the copy.
    fn cargo(&self, bed: &Bed, patience: u32) -> Command {
        // The tests go with cargo, as a group, when the time is over.
        let mut cargo = Command::new("timeout");
        cargo
            .args(["--kill-after=5", &patience.to_string(), "cargo", "test"])
            .current_dir(&bed.tree)
            .env("CARGO_TERM_COLOR", "never")
            .env_remove("RUSTFLAGS");
        let target = if self.loom {
            cargo.arg("--release").env("RUSTFLAGS", "--cfg loom").env("LOOM_MAX_PREEMPTIONS", "2");
            cargo.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
            "loom"
        } else {
            "host"
        };
        cargo.arg("--target-dir").arg(bed.target.join(target)).args(&self.test);
        cargo
    }

    /// Plants the bug; returns the files as they were.
    fn plant(&self, tree: &Path) -> Result<BTreeMap<PathBuf, String>> {
        let mut before = BTreeMap::new();
        for change in &self.changes {
            let path = tree.join(&change.file);
            let text = std::fs::read_to_string(&path).with_context(|| change.file.clone())?;
            let mutated = replace(&text, change).with_context(|| format!("{}: {:?}", change.file, change.old))?;
            std::fs::write(&path, mutated)?;
            before.entry(path).or_insert(text);
        }
        Ok(before)
    }
}

/// `text` with the old lines of `change`, which must occur once, replaced by the new ones.
fn replace(text: &str, change: &Change) -> Result<String> {
    let lines: Vec<&str> = text.lines().collect();
    let at: Vec<usize> = lines
        .windows(change.old.len())
        .enumerate()
        .filter(|(_, w)| w.iter().zip(&change.old).all(|(l, o)| l.trim() == o))
        .map(|(i, _)| i)
        .collect();
    ensure!(at.len() == 1, "these lines are there {} times", at.len());
    let new = change.new.iter().map(String::as_str);
    let mut out: Vec<&str> = lines[..at[0]].to_vec();
    out.extend(new);
    out.extend(&lines[at[0] + change.old.len()..]);
    Ok(out.join("\n") + "\n")
}

/// The copy of the tree and where it is built.
struct Bed {
    tree: PathBuf,
    target: PathBuf,
}

/// What a test did.
#[derive(PartialEq, Eq, Debug)]
enum Outcome {
    Passed,
    Failed,
    /// It did not compile, or no test of the name exists.
    Unknown(String),
}

impl Bed {
    /// Copies what git does not ignore, as it is now. Files that are the same stay, so that little is built again.
    fn new(ctx: &Ctx) -> Result<Bed> {
        let bed = Bed { tree: ctx.target.join("mutants/tree"), target: ctx.target.join("mutants") };
        let listed = Command::new("git").args(["ls-files", "-coz", "--exclude-standard"]).current_dir(&ctx.root).output().context("git")?;
        ensure!(listed.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listed.stderr));
        let files = String::from_utf8(listed.stdout)?;
        let list = bed.target.join("files");
        for gone in std::fs::read_to_string(&list).unwrap_or_default().split_terminator('\0').filter(|f| !ctx.root.join(f).exists()) {
            // It may have gone with the copy.
            let _ = std::fs::remove_file(bed.tree.join(gone));
        }
        std::fs::create_dir_all(&bed.tree)?;
        std::fs::write(&list, &files)?;
        for file in files.split_terminator('\0') {
            let (from, to) = (ctx.root.join(file), bed.tree.join(file));
            // A file that was deleted and not committed.
            let Ok(bytes) = std::fs::read(&from) else { continue };
            if std::fs::read(&to).is_ok_and(|old| old == bytes) {
                continue;
            }
            std::fs::create_dir_all(to.parent().context("a file without a directory")?)?;
            std::fs::write(&to, bytes).with_context(|| to.display().to_string())?;
        }
        Ok(bed)
    }

    /// Runs the mutant's test on the tree as it is now: what it did, and how many seconds it took beside being built.
    fn run(&self, mutant: &Mutant, patience: u32) -> Result<(Outcome, f32)> {
        let (built, text) = ui::capture(mutant.cargo(self, BUILD).args(["--", "--list"]))?;
        if !built {
            return Ok((Outcome::Unknown(text), 0.0));
        }
        let name = mutant.test.last().map_or("", |n| n);
        if text.lines().filter_map(|l| l.trim().strip_suffix(": test")).filter(|n| *n == name).count() != 1 {
            return Ok((Outcome::Unknown(format!("no test of the name {name}")), 0.0));
        }
        let begun = Instant::now();
        let (passed, _) = ui::capture(mutant.cargo(self, patience).args(["--", "--exact"]))?;
        Ok((if passed { Outcome::Passed } else { Outcome::Failed }, begun.elapsed().as_secs_f32()))
    }
}

/// All mutants whose names begin with `wanted`, by name.
fn all(root: &Path, wanted: &str) -> Result<Vec<Mutant>> {
    let mut mutants = Vec::new();
    for entry in std::fs::read_dir(root.join("tests/mutants"))? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if path.extension().is_some_and(|e| e == "mutant") && name.starts_with(wanted) {
            let text = std::fs::read_to_string(&path)?;
            mutants.push(Mutant::parse(&name, &text).with_context(|| path.display().to_string())?);
        }
    }
    mutants.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(mutants)
}

/// Runs the test of every mutant whose name begins with `wanted`, without and with it; one result per mutant.
pub fn check(ctx: &Ctx, wanted: &str) -> Result<Tally> {
    let (mutants, bed) = (all(&ctx.root, wanted)?, Bed::new(ctx)?);
    ensure!(!mutants.is_empty(), "there are no mutants of that name");
    // All of them first: what is built once for the tree as it stands is built anew for each mutant.
    ui::say("the tests on the tree as it stands");
    let mut whole = BTreeMap::new();
    for mutant in &mutants {
        if !whole.contains_key(&mutant.key()) {
            whole.insert(mutant.key(), bed.run(mutant, PATIENCE)?);
        }
    }
    let mut tally = Tally::default();
    for mutant in &mutants {
        let begun = Instant::now();
        let why = match whole.get(&mutant.key()) {
            Some((Outcome::Passed, seconds)) => {
                let patience = (LEAST_PATIENCE + SLOWER * seconds).min(PATIENCE as f32) as u32;
                let before = mutant.plant(&bed.tree).with_context(|| format!("tests/mutants/{}.mutant", mutant.name))?;
                let outcome = bed.run(mutant, patience);
                for (path, text) in before {
                    std::fs::write(path, text)?;
                }
                Some(outcome?.0).filter(|outcome| *outcome != Outcome::Failed).map(|outcome| format!("with the bug: {outcome:?}"))
            }
            other => Some(format!("the tree as it stands: {:?}", other.map(|(outcome, _)| outcome))),
        };
        tally.add(line(why.is_none(), &format!("mutant/{} ({})", mutant.name, mutant.guarantee), Some(begun.elapsed().as_secs_f32())));
        if let Some(why) = why {
            println!("        {}", why.replace("\\n", "\n        "));
        }
    }
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "guarantee: it is so\ntest: -p a --test b c\nfile: x.rs\n- one\n-   two\n+ three\n\n- four\n+\nfile: y.rs\n- five\n";

    #[test]
    fn mutants_are_read_as_written() {
        let m = Mutant::parse("n", TEXT).unwrap();
        assert_eq!((m.test.last().unwrap().as_str(), m.loom, m.changes.len()), ("c", false, 3));
        assert_eq!(m.changes[0].old, ["one", "two"]);
        assert_eq!(m.changes[2], Change { file: "y.rs".into(), old: vec!["five".into()], new: vec![] });
        assert!(Mutant::parse("n", "guarantee: x\ntest: y\n").is_err());
        assert!(Mutant::parse("n", "guarantee: x\ntest: y\n- z\n").is_err());
    }

    #[test]
    fn the_mutants_of_the_tree_apply_to_it() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for mutant in all(root, "").unwrap() {
            for change in &mutant.changes {
                let text = std::fs::read_to_string(root.join(&change.file)).unwrap();
                assert!(replace(&text, change).is_ok(), "{}: {} has not once {:?}", mutant.name, change.file, change.old);
            }
        }
    }

    #[test]
    fn a_change_applies_where_its_lines_are_once() {
        let change = |old: &[&str]| Change { file: String::new(), old: old.iter().map(|s| s.to_string()).collect(), new: vec!["x".into()] };
        assert_eq!(replace("a\n  b\nc\n", &change(&["b", "c"])).unwrap(), "a\nx\n");
        assert!(replace("b\nb\n", &change(&["b"])).is_err());
        assert!(replace("a\n", &change(&["b"])).is_err());
    }
}
