//! The vocabulary of a test case.

/// Something that the kernel must be able to do for a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ability {
    /// An interactive shell on the console: processes, signals, a terminal.
    Shell,
    /// `run -- program`: virtio-console ports as streams, exit status.
    Programs,
    /// Dynamic programs: PT_INTERP, shared libraries.
    Dynamic,
}

/// A file that a case finds in its working directory.
#[derive(Clone, Debug)]
pub enum Fixture {
    /// A file with this text, executable.
    Text(&'static str, &'static str),
    /// A copy of a file of this machine.
    Host(&'static str, &'static str),
    /// A file from a Debian arm64 package: name here, package, path in the package.
    Debian(&'static str, &'static str, &'static str),
    /// A program of `userland/`: name here and of the binary, package.
    Own(&'static str, &'static str),
}

/// What the program reads.
#[derive(Clone, Copy, Debug)]
pub enum Input {
    /// Nothing: end of file at once.
    Empty,
    /// This text.
    Text(&'static str),
    /// So many bytes without a pattern, the same in each run.
    Random(usize),
}

/// What a stream must be.
#[derive(Clone, Debug)]
pub enum Output {
    /// Not looked at.
    Any,
    /// Nothing at all.
    Empty,
    /// Exactly this.
    Exact(String),
    /// Exactly the input.
    Input,
    /// Contains this.
    Contains(&'static str),
    /// One line, which contains this.
    OneLine(&'static str),
}

/// A line of a session that begins so goes to the emulator's monitor, whether there is a prompt or not; what must appear is the guest's.
pub const MONITOR: &str = "monitor: ";
/// A line of a session that begins so is a break on the serial line and the keys behind it, at once: no prompt is waited for, and no echo.
pub const BREAK: &str = "break: ";

/// How a case runs.
#[derive(Clone, Debug)]
pub enum How {
    /// `run OPTIONS -- ARGV`.
    Program {
        /// Program and arguments.
        argv: Vec<&'static str>,
        /// Standard input.
        stdin: Input,
        /// Expected standard output.
        stdout: Output,
        /// Expected standard error.
        stderr: Output,
    },
    /// `run OPTIONS`, typing at the prompt: each line is sent when the prompt is there, then its text must appear.
    Session(Vec<(&'static str, &'static str)>),
}

/// One test.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name: `subject/what`.
    pub name: String,
    /// What it needs of the kernel.
    pub needs: Ability,
    /// Runs only with `--long` and in `accept`.
    pub long: bool,
    /// Options of `cargo xtask run`.
    pub options: Vec<String>,
    /// Files in its working directory.
    pub fixtures: Vec<Fixture>,
    /// Debian packages that are, with their dependencies, the guest's root file system; none: busybox.
    pub packages: &'static [&'static str],
    /// What happens.
    pub how: How,
    /// Expected exit status.
    pub status: i32,
    /// Real seconds after which it has failed.
    pub timeout: u32,
}

impl Case {
    /// A case that types at the shell and expects status 0.
    pub fn session(name: &str, lines: Vec<(&'static str, &'static str)>) -> Case {
        Case {
            name: name.to_string(),
            needs: Ability::Shell,
            long: false,
            options: Vec::new(),
            fixtures: Vec::new(),
            packages: &[],
            how: How::Session(lines),
            status: 0,
            timeout: 120,
        }
    }

    /// A case that runs a program without input, expecting nothing but its status.
    pub fn program(name: &str, argv: Vec<&'static str>, status: i32) -> Case {
        let how = How::Program { argv, stdin: Input::Empty, stdout: Output::Any, stderr: Output::Any };
        Case { how, status, needs: Ability::Programs, ..Case::session(name, Vec::new()) }
    }

    /// With this input and these outputs.
    pub fn streams(mut self, input: Input, out: Output, err: Output) -> Case {
        if let How::Program { stdin, stdout, stderr, .. } = &mut self.how {
            (*stdin, *stdout, *stderr) = (input, out, err);
        }
        self
    }

    /// With these files.
    pub fn with(mut self, fixtures: &[Fixture]) -> Case {
        self.fixtures.extend_from_slice(fixtures);
        self
    }

    /// On a root file system of these Debian packages.
    pub fn on(mut self, packages: &'static [&'static str]) -> Case {
        self.packages = packages;
        self
    }

    /// With these options.
    pub fn options(mut self, options: &[&str]) -> Case {
        self.options.extend(options.iter().map(|o| o.to_string()));
        self
    }

    /// Needing this.
    pub fn needs(mut self, ability: Ability) -> Case {
        self.needs = ability;
        self
    }

    /// Only with `--long`.
    pub fn long(mut self) -> Case {
        self.long = true;
        self
    }
}
