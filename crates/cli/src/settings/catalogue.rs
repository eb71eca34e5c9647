//! The provider files that the operator adds.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jeton_core::keep::provider::Catalogue;

use super::fault::SettingFault;
use super::reader::{Reader, expected};
use super::values;

const SETTING: &str = "providers.paths";

/// The built-in providers and those of `providers.paths`; and the names of the latter.
pub(crate) fn catalogue(reader: &mut Reader<'_>) -> (Catalogue, Vec<String>) {
    let mut catalogue = Catalogue::builtin();
    let mut added = Vec::new();
    let path = values::path(SETTING);
    let origin = reader.found(&path).map(|found| found.origin.clone());
    let written = reader.read(SETTING, |value| {
        let list = value.as_array().ok_or_else(|| expected("a list of paths", value))?;
        let text = |item: &toml::Value| {
            item.as_str().map(str::to_owned).ok_or_else(|| expected("paths in quotes", item))
        };
        list.iter().map(text).collect::<Result<Vec<_>, _>>()
    });
    for text in written.unwrap_or_default() {
        let place = reader.resolve(&text, origin.as_ref());
        match files(&place) {
            Ok(files) => {
                for file in files {
                    match add(&mut catalogue, &file) {
                        Ok(name) => added.push(name),
                        Err(problem) => reader.faults.push(SettingFault::new(None, "", problem)),
                    }
                }
            }
            Err(problem) => reader.fault(&path, problem),
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
fn files(place: &Path) -> Result<Vec<PathBuf>, String> {
    if !place.is_dir() {
        return fs::metadata(place)
            .map(|_| vec![place.to_owned()])
            .map_err(|error| unreadable(place, &error));
    }
    let entries = fs::read_dir(place).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let entries = entries.map_err(|error| unreadable(place, &error))?;
    let mut files: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|end| end == "toml"));
    files.sort();
    Ok(files)
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    format!(
        "{} cannot be read ({error}); give the path of a provider file, or of a folder with such files",
        path.display()
    )
}
