//! The provider files that the operator adds.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jeton_core::keep::provider::Catalogue;

use super::fault::SettingFault;
use super::reader::{Reader, texts};
use super::values::path;

const SETTING: &str = "providers.paths";

/// The built-in providers and those of `providers.paths`, and the names of the latter.
pub(super) fn read(reader: &mut Reader<'_>) -> (Catalogue, Vec<String>) {
    let mut catalogue = Catalogue::builtin();
    let mut added = Vec::new();
    let origin = reader.values.origin(&path(SETTING));
    let written = reader.read(SETTING, |value| texts(value, "paths"));
    for text in written.unwrap_or_default() {
        match files(&reader.resolve(&text, origin.as_ref())) {
            Ok(files) => {
                for file in files {
                    match add(&mut catalogue, &file) {
                        Ok(name) => added.push(name),
                        Err(problem) => reader.faults.push(SettingFault::new(None, "", problem)),
                    }
                }
            }
            Err(problem) => reader.fault(&path(SETTING), problem),
        }
    }
    (catalogue, added)
}

/// Adds one provider file; gives the name of its provider.
pub(crate) fn add(catalogue: &mut Catalogue, file: &Path) -> Result<String, String> {
    let text = fs::read_to_string(file).map_err(|error| unreadable(file, &error))?;
    let name = catalogue.add_file(&file.display().to_string(), &text).map_err(|error| error.to_string())?;
    Ok(name.to_string())
}

/// The file itself, or the provider files of a folder, by name.
fn files(path: &Path) -> Result<Vec<PathBuf>, String> {
    if !path.is_dir() {
        return fs::metadata(path).map(|_| vec![path.to_owned()]).map_err(|error| unreadable(path, &error));
    }
    let entries = fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let entries = entries.map_err(|error| unreadable(path, &error))?;
    let mut files: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|end| end == "toml"));
    files.sort();
    Ok(files)
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    format!(
        "{} cannot be read: {error}; give the path of a provider file, or of a folder with such files",
        path.display()
    )
}
