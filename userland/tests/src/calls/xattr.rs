//! Extended attributes: by path, by path without following, by descriptor.
use crate::case::Calls;
use crate::help::*;
use crate::sys;
use libc::{XATTR_CREATE, XATTR_REPLACE};
use std::ffi::CStr;

const NAME: &CStr = c"trusted.contract";

/// Adds the group.
pub fn add(a: &mut Calls) {
    sets(a);
    gets(a);
    lists(a);
    removes(a);
}

fn with_attribute() -> i32 {
    let fd = opened(c"f", "");
    sys!(fsetxattr, fd, NAME, c"value", 5, 0);
    fd
}

/// What the three forms of a call share; `f` gets the object as an argument and the name.
fn forms(a: &mut Calls, names: [&'static str; 3], f: fn(usize, usize, usize) -> isize) {
    for (form, name) in names.into_iter().enumerate() {
        let by_path = form < 2;
        // The descriptor's form carries the cases of what the three share.
        a.call(name, "ENOENT ENOTDIR", "path", false);
        a.not("ENOTSUP", "is EOPNOTSUPP").not("EDQUOT", "no quota").not("ENOSPC", "no limit on tmpfs");
        let object = move || {
            let fd = with_attribute();
            if by_path { c"f".as_ptr() as usize } else { fd as usize }
        };
        a.ok("file", move || f(form, object(), NAME.as_ptr() as usize));
        if by_path {
            a.ok("symlink", move || {
                with_attribute();
                sys!(symlinkat, c"f", CWD, c"l");
                f(form, c"l".as_ptr() as usize, NAME.as_ptr() as usize)
            })
            .err("ENOENT", move || f(form, c"none".as_ptr() as usize, NAME.as_ptr() as usize))
            .err("ENOTDIR", move || {
                file(c"f", "");
                f(form, c"f/x".as_ptr() as usize, NAME.as_ptr() as usize)
            })
            .bad("path", move || f(form, BAD, NAME.as_ptr() as usize));
        } else {
            a.err("EBADF", move || f(form, 99, NAME.as_ptr() as usize)).err("EBADF-path", move || {
                file(c"f", "");
                f(form, open(c"f", libc::O_PATH) as usize, NAME.as_ptr() as usize)
            });
        }
    }
}

/// The columns of the last call.
fn last(a: &mut Calls, errnos: &'static str, pointers: &'static str) {
    if let Some(call) = a.calls.last_mut() {
        (call.errnos, call.pointers) = (errnos, pointers);
    }
}

fn set(form: usize, object: usize, name: usize) -> isize {
    match form {
        0 => sys!(setxattr, object, name, c"new", 3, 0),
        1 => sys!(lsetxattr, object, name, c"new", 3, 0),
        _ => sys!(fsetxattr, object, name, c"new", 3, 0),
    }
}

fn get(form: usize, object: usize, name: usize) -> isize {
    match form {
        0 => sys!(getxattr, object, name, pages(1), PAGE),
        1 => sys!(lgetxattr, object, name, pages(1), PAGE),
        _ => sys!(fgetxattr, object, name, pages(1), PAGE),
    }
}

fn list(form: usize, object: usize, _: usize) -> isize {
    match form {
        0 => sys!(listxattr, object, pages(1), PAGE),
        1 => sys!(llistxattr, object, pages(1), PAGE),
        _ => sys!(flistxattr, object, pages(1), PAGE),
    }
}

fn remove(form: usize, object: usize, name: usize) -> isize {
    match form {
        0 => sys!(removexattr, object, name),
        1 => sys!(lremovexattr, object, name),
        _ => sys!(fremovexattr, object, name),
    }
}

fn sets(a: &mut Calls) {
    forms(a, ["setxattr", "lsetxattr", "fsetxattr"], set);
    last(a, "EBADF EEXIST ENODATA ERANGE EOPNOTSUPP EINVAL E2BIG EPERM", "name value");
    a.ok("create", || sys!(fsetxattr, opened(c"f", ""), NAME, c"v", 1, XATTR_CREATE))
        .ok("replace", || sys!(fsetxattr, with_attribute(), NAME, c"v", 1, XATTR_REPLACE))
        .ok("replaces-value", || {
            let fd = with_attribute();
            let mut b = [0u8; 9];
            (
                sys!(fsetxattr, fd, NAME, c"", 0, 0),
                sys!(fgetxattr, fd, NAME, &mut b, 9),
                sys!(fsetxattr, fd, NAME, c"longer", 6, 0),
                sys!(fgetxattr, fd, NAME, &mut b, 9),
                ctext(&b),
            )
        })
        .err("EINVAL-prefix-only", || {
            (sys!(fsetxattr, opened(c"f", ""), c"trusted.", c"v", 1, 0), sys!(fsetxattr, opened(c"f", ""), c"security.", c"v", 1, 0))
        })
        .err("EOPNOTSUPP-pipe-and-proc", || {
            (sys!(fsetxattr, pipe().0, NAME, c"v", 1, 0), sys!(setxattr, c"/proc/version", NAME, c"v", 1, 0))
        })
        .err("EEXIST", || sys!(fsetxattr, with_attribute(), NAME, c"v", 1, XATTR_CREATE))
        .err("ENODATA", || sys!(fsetxattr, opened(c"f", ""), NAME, c"v", 1, XATTR_REPLACE))
        .err("ERANGE-name", || {
            (
                sys!(fsetxattr, opened(c"f", ""), c"", c"v", 1, 0),
                sys!(fsetxattr, opened(c"f", ""), &*c(&format!("trusted.{}", "n".repeat(248))), c"v", 1, 0),
            )
        })
        .err("EOPNOTSUPP-name-space", || {
            (sys!(fsetxattr, opened(c"f", ""), c"nonsense.x", c"v", 1, 0), sys!(fsetxattr, opened(c"f", ""), c"user.x", c"v", 1, 0))
        })
        .err("EINVAL-flags", || sys!(fsetxattr, opened(c"f", ""), NAME, c"v", 1, 9))
        .err("E2BIG", || sys!(fsetxattr, opened(c"f", ""), NAME, pages(20), 65537, 0))
        .err("EPERM", || {
            let fd = opened(c"f", "");
            as_user(|| sys!(fsetxattr, fd, NAME, c"v", 1, 0))
        })
        .bad("name", || sys!(fsetxattr, opened(c"f", ""), BAD, c"v", 1, 0))
        .bad("value", || sys!(fsetxattr, opened(c"f", ""), NAME, BAD, 1, 0))
        .bad("value-edge", || sys!(fsetxattr, opened(c"f", ""), NAME, edge(3), 9, 0));
}

fn gets(a: &mut Calls) {
    forms(a, ["getxattr", "lgetxattr", "fgetxattr"], get);
    last(a, "EBADF ENODATA ERANGE EOPNOTSUPP", "name value");
    a.ok("value", || {
        let mut b = [0u8; 9];
        (sys!(fgetxattr, with_attribute(), NAME, &mut b, 9), ctext(&b))
    })
    .ok("size", || sys!(fgetxattr, with_attribute(), NAME, 0, 0))
    .err("ENODATA", || sys!(fgetxattr, opened(c"f", ""), NAME, pages(1), 9))
    .err("ENODATA-trusted-of-user", || {
        let fd = with_attribute();
        as_user(|| sys!(fgetxattr, fd, NAME, pages(1), 9))
    })
    .err("ERANGE", || sys!(fgetxattr, with_attribute(), NAME, pages(1), 2))
    .err("EOPNOTSUPP", || sys!(fgetxattr, with_attribute(), c"nonsense.x", pages(1), 9))
    .bad("name", || sys!(fgetxattr, with_attribute(), BAD, pages(1), 9))
    .bad("value", || sys!(fgetxattr, with_attribute(), NAME, BAD, 9));
}

fn lists(a: &mut Calls) {
    forms(a, ["listxattr", "llistxattr", "flistxattr"], list);
    last(a, "EBADF ERANGE", "list");
    a.ok("names", || {
        let mut b = [0u8; 64];
        (sys!(flistxattr, with_attribute(), &mut b, 64), ctext(&b))
    })
    .ok("two-newest-first", || {
        let fd = with_attribute();
        let mut b = [0u8; 64];
        let set = sys!(fsetxattr, fd, c"security.contract", c"s", 1, 0);
        let n = sys!(flistxattr, fd, &mut b, 64);
        (set, n, text(&b[..n.max(0) as usize]))
    })
    .ok("trusted-of-user", || {
        let fd = with_attribute();
        sys!(fsetxattr, fd, c"security.contract", c"s", 1, 0);
        as_user(|| {
            let mut b = [0u8; 64];
            (sys!(flistxattr, fd, &mut b, 64), ctext(&b), sys!(fgetxattr, fd, c"security.contract", &mut b, 64))
        })
    })
    .ok("pipe-and-proc", || (sys!(flistxattr, pipe().0, pages(1), 64), sys!(listxattr, c"/proc/version", pages(1), 64)))
    .ok("size", || sys!(flistxattr, with_attribute(), 0, 0))
    .ok("none", || sys!(flistxattr, opened(c"f", ""), pages(1), 64))
    .err("ERANGE", || sys!(flistxattr, with_attribute(), pages(1), 3))
    .bad("list", || sys!(flistxattr, with_attribute(), BAD, 64));
}

fn removes(a: &mut Calls) {
    forms(a, ["removexattr", "lremovexattr", "fremovexattr"], remove);
    last(a, "EBADF ENODATA EOPNOTSUPP EPERM", "name");
    a.ok("gone", || {
        let fd = with_attribute();
        (sys!(fremovexattr, fd, NAME), sys!(fgetxattr, fd, NAME, 0, 0))
    })
    .err("ENODATA", || sys!(fremovexattr, opened(c"f", ""), NAME))
    .err("EOPNOTSUPP", || sys!(fremovexattr, opened(c"f", ""), c"nonsense.x"))
    .err("EPERM", || {
        let fd = with_attribute();
        as_user(|| sys!(fremovexattr, fd, NAME))
    })
    .bad("name", || sys!(fremovexattr, with_attribute(), BAD));
}
