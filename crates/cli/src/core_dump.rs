//! Keeps the memory of this process, which holds tokens and keys, out of core files and from other processes of its user.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

/// Forbids core files, and debuggers and readers of `/proc/PID/mem` and `/proc/PID/environ` that are not root's.
pub(crate) fn forbid() -> io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    set_core_size(Some(0))
}

/// Allows all of it again, for people who debug.
pub(crate) fn allow() -> io::Result<()> {
    set_core_size(getrlimit(Resource::Core).maximum)?;
    Ok(set_dumpable_behavior(DumpableBehavior::Dumpable)?)
}

/// Sets the soft limit: the hard one could not be raised again.
fn set_core_size(current: Option<u64>) -> io::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Core);
    Ok(setrlimit(Resource::Core, Rlimit { current, maximum })?)
}

#[cfg(test)]
mod tests {
    use rustix::process::dumpable_behavior;

    use super::*;

    #[test]
    fn the_memory_of_the_process_is_closed_until_somebody_who_debugs_opens_it() {
        forbid().unwrap();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        let limit = getrlimit(Resource::Core);
        assert_eq!(limit.current, Some(0));
        allow().unwrap();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::Dumpable);
        assert_eq!(getrlimit(Resource::Core).current, limit.maximum);
    }
}
