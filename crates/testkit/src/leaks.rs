//! Looking for secrets in everything that was written.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Where a secret was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leak {
    /// The file.
    pub file: PathBuf,
    /// The place of its first byte.
    pub offset: usize,
}

/// Every place below `directory` where `needle` stands, in files of any kind: logs, databases and their journals, spill slots.
///
/// # Errors
/// Something cannot be read, or the needle is too short to mean anything (under 8 bytes).
pub fn grep_tree(directory: &Path, needle: &str) -> Result<Vec<Leak>> {
    anyhow::ensure!(needle.len() >= 8, "a needle of {} bytes would be found by chance", needle.len());
    let mut leaks = Vec::new();
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("reading {}", folder.display()))?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                leaks.extend(grep_file(&entry.path(), needle.as_bytes())?);
            }
        }
    }
    Ok(leaks)
}

fn grep_file(file: &Path, needle: &[u8]) -> Result<Vec<Leak>> {
    let bytes = match fs::read(file) {
        // Journals come and go while a process runs.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.with_context(|| format!("reading {}", file.display()))?,
    };
    let found = bytes.windows(needle.len()).enumerate().filter(|(_, window)| *window == needle);
    Ok(found.map(|(offset, _)| Leak { file: file.to_owned(), offset }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_needle_is_found_in_folders_below_and_among_binary_bytes() {
        let home = tempfile::tempdir().unwrap();
        let deep = home.path().join("a/b");
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("x.sqlite"), b"\0\xff\0needle-1\0needle-1").unwrap();
        fs::write(home.path().join("y.log"), "needle-2").unwrap();
        let found = grep_tree(home.path(), "needle-1").unwrap();
        let offsets: Vec<usize> = found.iter().map(|leak| leak.offset).collect();
        assert_eq!(offsets, [3, 12]);
        assert_eq!(found[0].file, deep.join("x.sqlite"));
        assert_eq!(grep_tree(home.path(), "needle-3").unwrap(), []);
        assert!(grep_tree(home.path(), "short").is_err());
    }
}
