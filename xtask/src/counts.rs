//! The stored instruction counts (`docs/counts.json`) and the versions for which they hold.
use crate::bench::Counts;
use crate::ctx::Ctx;
use crate::{linux, setup, ui};
use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use std::process::Command;

fn file(ctx: &Ctx) -> PathBuf {
    ctx.root.join("docs/counts.json")
}

/// What the counts depend on besides the kernel's own source.
fn versions(ctx: &Ctx) -> Result<Value> {
    Ok(json!({
        "kernel": env!("CARGO_PKG_VERSION"),
        "qemu": release(&setup::qemu_version()),
        "rustc": setup::kernel_toolchain()?.rustc_version(),
        "lock": lock_hash(ctx),
    }))
}

/// The release in QEMU's version line, without the number of Debian's build of it, which counts nothing differently.
fn release(version: &str) -> &str {
    version.split(" (").next().unwrap_or(version)
}

/// A fingerprint of the locked versions of what the kernel is linked from (FNV-1a).
fn lock_hash(ctx: &Ctx) -> String {
    let mut cargo = Command::new("cargo");
    cargo.args([
        "tree", "--locked", "--offline", "--package", "vigil-kernel", "--edges", "normal", "--prefix", "none", "--format", "{p} {f}",
    ]);
    cargo.args(["--target", setup::KERNEL_TARGET]).current_dir(&ctx.root);
    let text = cargo.output().map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    // Our own crates are named with their directories, which differ from machine to machine.
    let mut lines: Vec<&str> = text.lines().filter(|l| !l.contains('/')).collect();
    lines.sort_unstable();
    lines.dedup();
    let hash = lines.join("\n").bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    format!("{hash:016x}")
}

/// Writes the counts of both kernels with the versions.
pub fn store(ctx: &Ctx, linux: &Counts, vigil: &Counts) -> Result<()> {
    let object = |counts: &Counts| Value::Object(counts.iter().map(|(k, v)| (k.clone(), json!(v))).collect::<Map<_, _>>());
    let value = json!({
        "versions": versions(ctx)?,
        "linux_release": linux::fetch(ctx, false)?.release,
        "linux": object(linux),
        "vigil": object(vigil),
    });
    let path = file(ctx);
    std::fs::write(&path, serde_json::to_string_pretty(&value)? + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    ui::say(&format!("stored in {}", path.display()));
    Ok(())
}

/// Vigil's stored counts; none when there are none or the versions are others.
pub fn load(ctx: &Ctx) -> Result<Option<Counts>> {
    let Ok(text) = std::fs::read_to_string(file(ctx)) else { return Ok(None) };
    let value: Value = serde_json::from_str(&text).context("docs/counts.json")?;
    if value["versions"] != versions(ctx)? {
        ui::say("docs/counts.json was stored with other versions: not compared");
        return Ok(None);
    }
    let counts = value["vigil"].as_object().context("docs/counts.json: no counts of vigil")?;
    Ok(Some(counts.iter().filter_map(|(k, v)| Some((k.clone(), v.as_f64()?))).collect()))
}
