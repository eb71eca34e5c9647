//! Who the audit log names for commands.

use jeton_core::audit::Actor;

/// The user of this process, and the machine.
pub(crate) fn current() -> Actor {
    let id = rustix::process::getuid().as_raw().to_string();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, user) = (fields.next()?, fields.next()?, fields.next()?);
        (user == id).then(|| name.to_owned())
    });
    let host = rustix::system::uname();
    Actor::CommandLine(format!("{}@{}", name.unwrap_or(id), host.nodename().to_string_lossy()))
}
