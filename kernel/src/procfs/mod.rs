//! `/proc`.

use vigil_abi::Errno;

/// Fills `/proc`. Once, in a task, after [`vigil_fs::init`].
pub fn init() -> Result<(), Errno> {
    Ok(())
}
