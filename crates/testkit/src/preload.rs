//! Libraries that processes of a test load first, to see another world than there is. The C compiler that links the tests makes
//! them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

/// A library, in a folder of its own.
#[derive(Debug)]
pub(crate) struct Preload {
    folder: TempDir,
    name: &'static str,
}

impl Preload {
    /// Compiles `source`.
    pub(crate) fn compile(name: &'static str, source: &str) -> Result<Self> {
        let folder = TempDir::with_prefix("jeton-preload-").context("making a folder for a library")?;
        // Servers of another user load it as well.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
        let library = Self { folder, name };
        let source_file = library.folder().join(format!("{name}.c"));
        fs::write(&source_file, source)?;
        let mut compile = Command::new("cc");
        compile.args(["-shared", "-fPIC", "-O2", "-o"]).arg(library.path()).arg(&source_file);
        let output = compile.output().context("starting `cc`")?;
        ensure!(output.status.success(), "`cc` failed: {}", String::from_utf8_lossy(&output.stderr));
        Ok(library)
    }

    /// Its folder, where the test and the processes may share a file.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder().join(format!("{}.so", self.name))
    }

    /// What makes a process load it, and tells it of a file in the folder.
    pub(crate) fn environment(&self, variable: &'static str, file: &str) -> [(&'static str, String); 2] {
        [
            ("LD_PRELOAD", self.path().display().to_string()),
            (variable, self.folder().join(file).display().to_string()),
        ]
    }
}
