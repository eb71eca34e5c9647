//! The nodes that live or have lived on this data directory. Their spill slots lie here, where everybody on it can look: nobody
//! needs to wait until such a node has returned what it holds.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use jeton_core::id::NodeId;

use crate::private_file::open_private;

const FILE: &str = "nodes";

/// How many are remembered: more than can have left an attempt that is still open.
const MOST: usize = 500;

/// Remembers a node, one to a line. A file that was torn by a crash forgets some: they are waited for.
pub(crate) fn register(data_dir: &Path, node: NodeId) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let mut file = open_private(&mut options, &data_dir.join(FILE))?;
    file.lock()?;
    let mut known = String::new();
    file.read_to_string(&mut known)?;
    let lines: Vec<&str> = known.lines().collect();
    let kept = lines.get(lines.len().saturating_sub(MOST - 1)..).unwrap_or_default();
    let node = node.to_string();
    let text: String = kept.iter().copied().chain([node.as_str()]).flat_map(|line| [line, "\n"]).collect();
    file.seek(SeekFrom::Start(0))?;
    file.write_all(text.as_bytes())?;
    file.set_len(text.len() as u64)
}

/// Whether the slots of that node lie in this data directory.
pub(crate) fn contains(data_dir: &Path, node: NodeId) -> io::Result<bool> {
    let mut file = match File::open(data_dir.join(FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        opened => opened?,
    };
    file.lock_shared()?;
    let mut known = String::new();
    file.read_to_string(&mut known)?;
    let looked_for = node.to_string();
    Ok(known.lines().any(|line| line == looked_for))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u16) -> NodeId {
        let mut bytes = [0; 16];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        NodeId::from_bytes(bytes)
    }

    #[test]
    fn a_data_directory_knows_the_last_nodes_that_lived_on_it_and_no_other() {
        let home = tempfile::tempdir().unwrap();
        assert!(!contains(home.path(), node(1)).unwrap(), "nobody has lived here");
        let count = u16::try_from(MOST).unwrap() + 2;
        for number in 1..=count {
            register(home.path(), node(number)).unwrap();
        }
        let known = |number| contains(home.path(), node(number)).unwrap();
        assert!(!known(1) && !known(2) && known(3) && known(count) && !known(count + 1));
    }
}
