//! Debian's packages, the guest's arm64 ones above all, without touching the host: a private apt state (own lists, cache and an empty status file).
use crate::ctx::Ctx;
use crate::ui;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How old the package lists may become before they are read again.
const LISTS_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// The private apt state and the cache of unpacked packages.
pub struct Apt {
    dir: PathBuf,
    /// Debian's name of the packages' architecture.
    arch: String,
}

impl Apt {
    /// Packages for the guest, arm64.
    pub fn new(ctx: &Ctx) -> Result<Apt> {
        Apt::open(ctx.cache.join("apt"), "arm64".to_string(), None)
    }

    /// Packages for this machine, unpacked into the cache like the guest's: tools that need not be installed.
    pub fn of_host(ctx: &Ctx) -> Result<Apt> {
        let arch = crate::setup::output(Command::new("dpkg").arg("--print-architecture"));
        Apt::open(ctx.cache.join(format!("apt-{arch}")), arch, None)
    }

    /// Newer packages for this machine than its release has, from its own mirror.
    pub fn backports(ctx: &Ctx) -> Result<Apt> {
        let arch = crate::setup::output(Command::new("dpkg").arg("--print-architecture"));
        let mut list = Command::new("apt-get");
        list.args(["indextargets", "--format", "$(COMPONENT) $(CODENAME) $(REPO_URI)", "Created-By: Packages"]);
        let (_, text) = ui::capture(&mut list)?;
        // The release itself, not its updates.
        let release = text.lines().find_map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["main", codename, uri] if !codename.contains('-') => Some((codename.to_string(), uri.to_string())),
            _ => None,
        });
        let (codename, uri) = release.context("this machine's apt sources name no release of Debian")?;
        let keys = "/usr/share/keyrings/debian-archive-keyring.gpg";
        let signed = if Path::new(keys).exists() { format!("[signed-by={keys}] ") } else { String::new() };
        let source = format!("deb {signed}{uri} {codename}-backports main\n");
        Apt::open(ctx.cache.join(format!("apt-{codename}-backports-{arch}")), arch, Some(&source))
    }

    /// Prepares the state in `dir`, with this machine's sources or this one instead; reads the package lists when there are none or
    /// they are old.
    fn open(dir: PathBuf, arch: String, source: Option<&str>) -> Result<Apt> {
        if !crate::setup::found("apt-get") || !crate::setup::found("dpkg-deb") {
            bail!("Debian's {arch} packages are fetched with apt-get and dpkg-deb, which this machine does not have");
        }
        for sub in ["state/lists/partial", "cache/archives/partial", "unpacked", "answers"] {
            std::fs::create_dir_all(dir.join(sub))?;
        }
        let apt = Apt { dir: dir.clone(), arch: arch.clone() };
        let _lock = apt.lock()?;
        std::fs::write(dir.join("state/status"), "")?;
        let d = dir.display();
        let mut conf = format!(
            "APT::Architecture \"{arch}\";\nAPT::Architectures {{ \"{arch}\"; }};\nDir::State \"{d}/state\";\nDir::State::Lists \"{d}/state/lists\";\n\
             Dir::State::status \"{d}/state/status\";\nDir::Cache \"{d}/cache\";\nAcquire::Languages \"none\";\nAcquire::Retries \"3\";\n\
             APT::Keep-Downloaded-Packages \"true\";\nDPkg::Post-Invoke {{}};\nAPT::Update::Post-Invoke {{}};\n"
        );
        if let Some(source) = source {
            std::fs::write(dir.join("sources.list"), source)?;
            conf.push_str(&format!("Dir::Etc::sourcelist \"{d}/sources.list\";\nDir::Etc::sourceparts \"-\";\n"));
        }
        if rustix::process::geteuid().is_root() {
            conf.push_str("APT::Sandbox::User \"root\";\n");
        }
        std::fs::write(dir.join("apt.conf"), conf)?;
        let fresh = std::fs::metadata(apt.dir.join("updated"))
            .and_then(|m| m.modified())
            .is_ok_and(|t| t.elapsed().is_ok_and(|age| age < LISTS_AGE));
        if !fresh {
            apt.update()?;
        }
        Ok(apt)
    }

    /// Several of us may run at once (tests), and apt does not like that: whoever calls it holds this lock, until the file is closed.
    fn lock(&self) -> Result<std::fs::File> {
        let file = std::fs::File::create(self.dir.join("lock"))?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)?;
        Ok(file)
    }

    /// What apt said about a question, remembered until the package lists are read again: it takes half a second to answer.
    fn remembered(&self, question: &str, ask: impl FnOnce() -> Result<String>) -> Result<String> {
        let file = self.dir.join("answers").join(question);
        let time = |path: &Path| std::fs::metadata(path).and_then(|m| m.modified());
        if let (Ok(answered), Ok(updated)) = (time(&file), time(&self.dir.join("updated")))
            && answered > updated
        {
            return Ok(std::fs::read_to_string(&file)?);
        }
        let _lock = self.lock()?;
        let answer = ask()?;
        let temporary = file.with_extension(format!("tmp{}", std::process::id()));
        std::fs::write(&temporary, &answer)?;
        std::fs::rename(&temporary, &file)?;
        Ok(answer)
    }

    fn command(&self, tool: &str) -> Command {
        let mut command = Command::new(tool);
        command.arg("-c").arg(self.dir.join("apt.conf")).env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C");
        command
    }

    fn update(&self) -> Result<()> {
        // A third-party source without arm64 makes apt complain; what counts is whether the packages can be had afterwards.
        if let Err(error) = ui::step(&format!("reading Debian's {} package lists", self.arch), self.command("apt-get").arg("update")) {
            ui::say(&format!("{error:#}"));
        }
        std::fs::write(self.dir.join("updated"), "")?;
        Ok(())
    }

    /// Runs apt-get; when that fails, once more after reading the lists again (a package may have been superseded).
    fn get(&self, what: &str, args: &[&str], cwd: &Path) -> Result<String> {
        let (ok, text) = ui::capture(self.command("apt-get").args(args).current_dir(cwd))?;
        if ok {
            return Ok(text);
        }
        self.update()?;
        ui::step(what, self.command("apt-get").args(args).current_dir(cwd))
    }

    /// The concrete kernel package behind `linux-image-arm64`, such as `linux-image-6.1.0-50-arm64`; `rt`: behind the one with
    /// PREEMPT_RT.
    pub fn linux_image(&self, rt: bool) -> Result<String> {
        let (question, wanted) = if rt { ("linux-image-rt", "linux-image-rt-arm64") } else { ("linux-image", "linux-image-arm64") };
        self.remembered(question, || {
            let (_, text) = ui::capture(self.command("apt-cache").args(["depends", wanted]))?;
            let name = text.lines().find_map(|l| l.trim().strip_prefix("Depends: ").filter(|p| p.starts_with("linux-image-")));
            Ok(name.with_context(|| format!("no {wanted} in this machine's apt sources (is it Debian?)"))?.to_string())
        })
    }

    /// The version of a package that would be fetched now.
    pub fn version(&self, package: &str) -> Result<String> {
        self.remembered(&format!("{package}.version"), || {
            let (_, text) = ui::capture(self.command("apt-cache").args(["show", "--no-all-versions", package]))?;
            let version = text.lines().find_map(|l| l.strip_prefix("Version: "));
            Ok(version.with_context(|| format!("no package {package} for {}", self.arch))?.to_string())
        })
    }

    /// Fetches one package without its dependencies and gives the .deb's path.
    pub fn download(&self, package: &str) -> Result<PathBuf> {
        let debs = self.dir.join("cache/archives");
        let find = |version: &str| self.deb_file(&debs, package, version);
        if let Some(deb) = find(&self.version(package)?) {
            return Ok(deb);
        }
        let lock = self.lock()?;
        ui::say(&format!("fetching {package} ({})", self.arch));
        self.get(&format!("fetching {package}"), &["download", package], &debs)?;
        drop(lock);
        find(&self.version(package)?).with_context(|| format!("apt-get did not leave {package} in {}", debs.display()))
    }

    /// Fetches and unpacks the upstream source of a package (once), without Debian's changes, and gives its directory.
    pub fn source(&self, package: &str) -> Result<PathBuf> {
        let dir = self.dir.join("source").join(package);
        let _lock = self.lock()?;
        if !dir.exists() {
            // The machine's own lists of binary packages, asked for sources instead.
            let state = self.dir.join("source-state");
            for sub in ["lists/partial", "sources.d", "fetched"] {
                std::fs::create_dir_all(state.join(sub))?;
            }
            let lists = std::iter::once(PathBuf::from("/etc/apt/sources.list"));
            for (number, list) in lists.chain(std::fs::read_dir("/etc/apt/sources.list.d")?.flatten().map(|e| e.path())).enumerate() {
                let Ok(text) = std::fs::read_to_string(&list) else { continue };
                let (old, new) = match list.extension().and_then(|e| e.to_str()) {
                    Some("sources") => ("Types: deb", "Types: deb-src"),
                    Some("list") => ("deb ", "deb-src "),
                    // apt reads no others.
                    _ => continue,
                };
                let line =
                    |l: &str| if l.starts_with(old) && !l.starts_with("Types: deb-src") { l.replacen(old, new, 1) } else { l.to_string() };
                let name = format!("{number}.{}", if new == "deb-src " { "list" } else { "sources" });
                std::fs::write(state.join("sources.d").join(name), text.lines().map(|l| line(l) + "\n").collect::<String>())?;
            }
            let s = state.display();
            let options = [
                format!("Dir::State::Lists={s}/lists"),
                format!("Dir::Etc::sourceparts={s}/sources.d"),
                "Dir::Etc::sourcelist=/dev/null".to_string(),
            ];
            let with = |args: &[&str]| {
                let mut command = self.command("apt-get");
                options.iter().for_each(|o| _ = command.arg("-o").arg(o));
                command.args(args).current_dir(state.join("fetched"));
                command
            };
            // As in `update`: what counts is what can be had afterwards.
            if let Err(error) = ui::step("reading Debian's lists of sources", &mut with(&["update"])) {
                ui::say(&format!("{error:#}"));
            }
            ui::step(&format!("fetching the source of {package}"), &mut with(&["source", "--download-only", package]))?;
            let of = |name: &str| name.starts_with(&format!("{package}_")) && name.contains(".orig.tar.");
            let archive = std::fs::read_dir(state.join("fetched"))?
                .flatten()
                .map(|e| e.path())
                .find(|p| p.file_name().is_some_and(|n| of(&n.to_string_lossy())));
            let archive = archive.with_context(|| format!("apt-get left no source of {package}"))?;
            let temporary = dir.with_extension("tmp");
            std::fs::create_dir_all(&temporary)?;
            ui::step(
                "unpacking it",
                Command::new("tar").args(["-x", "--strip-components=1", "--no-same-owner", "-C"]).arg(&temporary).arg("-f").arg(&archive),
            )?;
            std::fs::rename(&temporary, &dir)?;
        }
        Ok(dir)
    }

    /// Unpacks one package without its dependencies (once) and gives the directory.
    pub fn unpacked(&self, package: &str) -> Result<PathBuf> {
        self.unpacked_part(package, &[])
    }

    /// Unpacks what matches the tar patterns of one package (once), for packages of which little is needed.
    pub fn unpacked_part(&self, package: &str, patterns: &[&str]) -> Result<PathBuf> {
        self.unpacked_as(package, "", patterns)
    }

    /// As [`Apt::unpacked_part`], into a directory of its own, named after the package and `suffix`.
    pub fn unpacked_as(&self, package: &str, suffix: &str, patterns: &[&str]) -> Result<PathBuf> {
        let deb = self.download(package)?;
        self.unpack_once(&[&deb], suffix, patterns)
    }

    /// Unpacks packages into one directory (once), which is named after the first.
    pub fn unpacked_together(&self, debs: &[&Path]) -> Result<PathBuf> {
        self.unpack_once(debs, "-together", &[])
    }

    fn unpack_once(&self, debs: &[&Path], suffix: &str, patterns: &[&str]) -> Result<PathBuf> {
        let name = debs.first().and_then(|deb| deb.file_stem()).unwrap_or_default().to_string_lossy();
        let dir = self.dir.join("unpacked").join(format!("{name}{suffix}"));
        if !dir.exists() {
            let temporary = dir.with_extension(format!("tmp{}", std::process::id()));
            for deb in debs {
                unpack(deb, &temporary, patterns)?;
            }
            // Another process may have been faster: its result is the same.
            if std::fs::rename(&temporary, &dir).is_err() {
                std::fs::remove_dir_all(&temporary)?;
            }
        }
        Ok(dir)
    }

    /// Fetches packages with all their dependencies and gives the .debs' paths.
    pub fn with_dependencies(&self, packages: &[String]) -> Result<Vec<PathBuf>> {
        let debs = self.dir.join("cache/archives");
        let names: Vec<&str> = packages.iter().map(String::as_str).collect();
        let _lock = self.lock()?;
        let simulate = [&["-s", "--no-install-recommends", "install"][..], &names].concat();
        let plan = self.get("working out the dependencies", &simulate, &debs)?;
        ui::say(&format!("fetching {} with their dependencies ({})", names.join(" "), self.arch));
        let download = [&["-y", "--no-install-recommends", "--download-only", "install"][..], &names].concat();
        self.get("fetching the packages", &download, &debs)?;
        let mut paths = Vec::new();
        for line in plan.lines().filter_map(|l| l.strip_prefix("Inst ")) {
            let mut words = line.split_whitespace();
            let (Some(name), Some(version)) = (words.next(), words.next()) else { continue };
            let name = name.split(':').next().unwrap_or(name);
            let version = version.trim_start_matches('(');
            paths.push(self.deb_file(&debs, name, version).with_context(|| format!("apt-get did not fetch {name} {version}"))?);
        }
        Ok(paths)
    }

    fn deb_file(&self, dir: &Path, package: &str, version: &str) -> Option<PathBuf> {
        let name = |arch: &str| dir.join(format!("{package}_{}_{arch}.deb", version.replace(':', "%3a")));
        [self.arch.as_str(), "all"].into_iter().map(name).find(|path| path.exists())
    }
}

/// Unpacks a .deb's files into a directory, keeping the merged-/usr links that are there.
pub fn unpack(deb: &Path, to: &Path, patterns: &[&str]) -> Result<()> {
    std::fs::create_dir_all(to)?;
    let mut source = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(deb)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .context("cannot start dpkg-deb")?;
    let pipe = source.stdout.take().context("dpkg-deb without output")?;
    let status = Command::new("tar")
        .args(["-x", "--keep-directory-symlink", "--no-same-owner", "--wildcards", "-C"])
        .arg(to)
        .args(patterns)
        .stdin(pipe)
        .status()
        .context("cannot start tar")?;
    if !status.success() || !source.wait()?.success() {
        bail!("cannot unpack {}", deb.display());
    }
    Ok(())
}

/// `cargo xtask rootfs`: a root file system of Debian packages with their dependencies.
pub fn rootfs(ctx: &Ctx, packages: &[String], out: &Path) -> Result<()> {
    let apt = Apt::new(ctx)?;
    // Debian takes a shell for granted, so that no package depends on it.
    let packages = [packages, &["dash".to_string()]].concat();
    let debs = apt.with_dependencies(&packages)?;
    for dir in ["bin", "sbin", "lib"] {
        std::fs::create_dir_all(out.join("usr").join(dir))?;
        if std::fs::symlink_metadata(out.join(dir)).is_err() {
            std::os::unix::fs::symlink(format!("usr/{dir}"), out.join(dir))?;
        }
    }
    for dir in ["dev", "proc", "sys", "tmp", "run", "root", "etc", "var/tmp"] {
        std::fs::create_dir_all(out.join(dir))?;
    }
    for deb in &debs {
        unpack(deb, out, &[])?;
    }
    // What dash's installation script does.
    if std::fs::symlink_metadata(out.join("bin/sh")).is_err() {
        std::os::unix::fs::symlink("dash", out.join("bin/sh"))?;
    }
    for (path, text) in [
        ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"),
        ("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
    ] {
        if !out.join(path).exists() {
            std::fs::write(out.join(path), text)?;
        }
    }
    ui::say(&format!("{} packages in {}", debs.len(), out.display()));
    Ok(())
}
