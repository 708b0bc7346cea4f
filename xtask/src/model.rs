//! The written models in `tests/models`, checked with SPIN: each as it stands, where no error may be found, and with each of its
//! mutants, where one must be. `pan` ends with status 0 in both cases; what it says decides.
use crate::apt::Apt;
use crate::ctx::Ctx;
use crate::setup;
use crate::test::{Tally, line};
use crate::ui;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Checks all models.
pub fn check(ctx: &Ctx) -> Result<Tally> {
    let mut tally = Tally::default();
    let spin = spin(ctx)?;
    let mut models: Vec<PathBuf> = std::fs::read_dir(ctx.root.join("tests/models"))?.flatten().map(|e| e.path()).collect();
    models.retain(|path| path.extension().is_some_and(|e| e == "pml"));
    models.sort();
    for model in models {
        let text = std::fs::read_to_string(&model).with_context(|| format!("cannot read {}", model.display()))?;
        let name = model.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let all = std::iter::once(None).chain(mutants(&text).into_iter().map(Some));
        for mutant in all {
            let start = Instant::now();
            let result = explore(ctx, &spin, &model, mutant);
            let title = format!("model/{name}{}", mutant.map_or(String::new(), |m| format!("-{}", m.to_lowercase().replace('_', "-"))));
            let good = matches!(result, Ok(errors) if (errors > 0) == mutant.is_some());
            tally.add(line(good, &title, Some(start.elapsed().as_secs_f32())));
            match result {
                Ok(errors) if !good => println!("        {errors} errors, {} expected", if mutant.is_some() { "some" } else { "none" }),
                Err(error) => println!("        {}", format!("{error:#}").replace('\n', "\n        ")),
                Ok(_) => {}
            }
        }
    }
    Ok(tally)
}

/// The mutants that a model knows: the words behind `#ifdef MUTANT_` and `#ifndef MUTANT_`.
fn mutants(text: &str) -> Vec<&str> {
    let mut names: Vec<&str> = text
        .lines()
        .filter_map(|l| l.strip_prefix("#ifdef ").or(l.strip_prefix("#ifndef ")))
        .map(str::trim)
        .filter(|n| n.starts_with("MUTANT_"))
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// SPIN: of this machine, else Debian's package, unpacked into the cache.
fn spin(ctx: &Ctx) -> Result<PathBuf> {
    for tool in ["cc", "cpp"] {
        if !setup::found(tool) {
            setup::apt_install(&["gcc", "libc6-dev"])?;
        }
    }
    if setup::found("spin") {
        return Ok("spin".into());
    }
    Ok(Apt::of_host(ctx)?.unpacked("spin")?.join("usr/bin/spin"))
}

/// Explores all states of a model; the number of errors that were found.
fn explore(ctx: &Ctx, spin: &Path, model: &Path, mutant: Option<&str>) -> Result<u32> {
    let dir = ctx.target.join("models").join(format!("{}-{}", std::process::id(), mutant.unwrap_or("whole")));
    std::fs::create_dir_all(&dir)?;
    let step = |command: &mut Command| -> Result<String> {
        let (ok, text) = ui::capture(command.current_dir(&dir))?;
        if !ok {
            bail!("{}: failed\n{text}", ui::shell_line(command));
        }
        Ok(text)
    };
    step(Command::new(spin).args(mutant.map(|m| format!("-D{m}"))).arg("-a").arg(model))?;
    step(Command::new("cc").args(["-O2", "-w", "-DSAFETY", "-o", "pan", "pan.c"]))?;
    let text = step(Command::new(dir.join("pan")).arg("-m100000"))?;
    std::fs::remove_dir_all(&dir)?;
    errors(&text).with_context(|| format!("pan did not say how many errors it found:\n{text}"))
}

/// The number in `State-vector 44 byte, depth reached 123, errors: 0`. A search that was cut short says nothing about the rest.
fn errors(text: &str) -> Option<u32> {
    let cut = ["max search depth too small", "out of memory", "Search not completed"].iter().any(|word| text.contains(word));
    let found: u32 = text.lines().find_map(|l| l.split_once("errors: ")?.1.trim().parse().ok())?;
    (found > 0 || !cut).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_that_was_cut_short_proves_nothing() {
        assert_eq!(errors("State-vector 76 byte, depth reached 99, errors: 0\n"), Some(0));
        assert_eq!(errors("error: max search depth too small\nState-vector 76 byte, depth reached 99, errors: 0\n"), None);
        assert_eq!(errors("Warning: Search not completed\nState-vector 76 byte, depth reached 99, errors: 1\n"), Some(1));
        assert_eq!(errors("nothing"), None);
    }

    #[test]
    fn mutants_are_found_in_the_model() {
        assert_eq!(mutants("#ifdef MUTANT_B\nx\n#endif\n#ifndef MUTANT_A\n#ifdef MUTANT_B\n#ifndef CPUS\n"), ["MUTANT_A", "MUTANT_B"]);
    }
}
