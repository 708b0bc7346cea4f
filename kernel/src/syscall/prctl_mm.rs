//! prctl(PR_SET_MM): a program that was put together by hand says where its parts are.

use super::{Args, user};
use crate::mm::{MMAP_MIN_ADDR, MmFields};
use crate::task::limits;
use crate::task::thread::Thread;
use vigil_abi::Errno;
use vigil_abi::process::*;
use vigil_mem::{KVec, TASK_SIZE, UserPtr};

/// Words of the auxiliary vector that are kept (`AT_VECTOR_SIZE` on arm64).
const AUXV_WORDS: usize = 46;

/// prctl(PR_SET_MM, what, address, length, 0). EPERM, EINVAL, EFAULT where nothing is mapped. PR_SET_MM_MAP does not
/// exist, as on a Linux without checkpoints; PR_SET_MM_EXE_FILE neither.
pub async fn set(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let (what, address) = (a[1], a[2] as usize);
    let auxv = what == u64::from(PR_SET_MM_AUXV);
    if a[4] != 0 || a[3] != 0 && !auxv {
        return Err(Errno::EINVAL);
    }
    if what == u64::from(PR_SET_MM_MAP) || what == u64::from(PR_SET_MM_MAP_SIZE) {
        return Err(Errno::EINVAL);
    }
    if !t.cred()?.capable(CAP_SYS_RESOURCE) {
        return Err(Errno::EPERM);
    }
    if auxv {
        return set_auxv(t, address, a[3] as usize).await;
    }
    if !(MMAP_MIN_ADDR..TASK_SIZE).contains(&address) {
        return Err(Errno::EINVAL);
    }
    let mm = t.share_mm().ok_or(Errno::EINVAL)?;
    let data_limit = t.process.limits.soft(limits::DATA);
    mm.update_fields(address, |fields, mapped| {
        let mut new = *fields;
        let needs_mapping = place(&mut new, what as u32, address)?;
        check(&new, data_limit)?;
        if needs_mapping && !mapped {
            return Err(Errno::EFAULT);
        }
        *fields = new;
        Ok(())
    })
    .await
    .map(|()| 0)
}

/// Stores `address` in its field; whether something must be mapped there.
fn place(fields: &mut MmFields, what: u32, address: usize) -> Result<bool, Errno> {
    let (field, needs_mapping) = match what {
        PR_SET_MM_START_CODE => (&mut fields.start_code, false),
        PR_SET_MM_END_CODE => (&mut fields.end_code, false),
        PR_SET_MM_START_DATA => (&mut fields.start_data, false),
        PR_SET_MM_END_DATA => (&mut fields.end_data, false),
        PR_SET_MM_START_STACK => (&mut fields.start_stack, true),
        PR_SET_MM_START_BRK => (&mut fields.start_brk, false),
        PR_SET_MM_BRK => (&mut fields.brk, false),
        PR_SET_MM_ARG_START => (&mut fields.arg_start, true),
        PR_SET_MM_ARG_END => (&mut fields.arg_end, true),
        PR_SET_MM_ENV_START => (&mut fields.env_start, true),
        PR_SET_MM_ENV_END => (&mut fields.env_end, true),
        _ => return Err(Errno::EINVAL),
    };
    *field = address;
    Ok(needs_mapping)
}

/// Whether the borders make sense together (Linux: validate_prctl_map_addr).
fn check(f: &MmFields, data_limit: u64) -> Result<(), Errno> {
    let all = [
        f.start_code, f.end_code, f.start_data, f.end_data, f.start_brk, f.brk, f.start_stack, f.arg_start, f.arg_end, f.env_start,
        f.env_end,
    ];
    let inside = all.iter().all(|at| (MMAP_MIN_ADDR..TASK_SIZE).contains(at));
    let ordered = f.start_code < f.end_code
        && f.start_data <= f.end_data
        && f.start_brk <= f.brk
        && f.arg_start <= f.arg_end
        && f.env_start <= f.env_end;
    let data = (f.brk.saturating_sub(f.start_brk)).saturating_add(f.end_data.saturating_sub(f.start_data));
    if inside && ordered && data as u64 <= data_limit { Ok(()) } else { Err(Errno::EINVAL) }
}

async fn set_auxv(t: &Thread, address: usize, length: usize) -> Result<usize, Errno> {
    if length > AUXV_WORDS * size_of::<u64>() {
        return Err(Errno::EINVAL);
    }
    let mut words = KVec::new();
    words.try_resize(AUXV_WORDS, 0u64)?;
    let given = length / size_of::<u64>();
    user::retry(t, || Ok(UserPtr::<u64>::new(address).read_slice(&mut words[..given])?)).await?;
    // The last pair is AT_NULL, whatever was given.
    words[AUXV_WORDS - 2..].fill(0);
    let end = words.chunks_exact(2).position(|pair| pair[0] == 0).map_or(AUXV_WORDS, |pair| 2 * pair + 2);
    words.truncate(end);
    t.share_mm().ok_or(Errno::EINVAL)?.set_auxv(words).await;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> MmFields {
        let at = |n: usize| MMAP_MIN_ADDR + n * 0x1000;
        MmFields {
            start_code: at(0),
            end_code: at(1),
            start_data: at(2),
            end_data: at(3),
            start_brk: at(4),
            brk: at(4),
            start_stack: at(9),
            arg_start: at(9),
            arg_end: at(9),
            env_start: at(9),
            env_end: at(10),
        }
    }

    #[test]
    fn borders_out_of_order_or_beyond_the_data_limit_are_refused() {
        let mut f = fields();
        assert_eq!(check(&f, u64::MAX), Ok(()));
        assert_eq!(check(&f, 0xfff), Err(Errno::EINVAL), "a page of data is there");
        assert_eq!(place(&mut f, PR_SET_MM_BRK, fields().start_brk - 1), Ok(false));
        assert_eq!(check(&f, u64::MAX), Err(Errno::EINVAL));
        assert_eq!(place(&mut f, 99, 0), Err(Errno::EINVAL));
        assert_eq!(place(&mut f, PR_SET_MM_ENV_END, 0x50_0000), Ok(true), "strings must be mapped");
    }
}
