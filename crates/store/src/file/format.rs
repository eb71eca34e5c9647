//! What stands in a token file: a snapshot as JSON. Tokens and replies in it are sealed by the keeper.

mod version_1;

use serde::{Deserialize, Serialize};

use crate::memory::snapshot::Snapshot;

/// What tells a token file of ours from others.
const FORMAT: &str = "jeton tokens";

/// The version that is written, and the latest that is read. Fields that a version does not have are refused, because whoever
/// does not know them would lose them when it writes.
const VERSION: u32 = 3;

/// What is done about a damaged file.
const RESTORE: &str = "put back a copy of it that is whole, or move it away to begin with an empty one";

/// Why a file is not read. The text holds nothing of what stands in the file but its version.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FormatError {
    pub(super) what: String,
    pub(super) cure: &'static str,
}

/// As much of a file as tells whose it is.
#[derive(Deserialize)]
struct FileHeader {
    format: Option<String>,
    version: Option<u32>,
}

#[derive(Serialize)]
struct WrittenFile<'s> {
    format: &'static str,
    version: u32,
    rows: &'s Snapshot,
}

#[derive(Deserialize)]
struct ReadFile {
    rows: Snapshot,
}

/// The text of a snapshot.
pub(super) fn write(snapshot: &Snapshot) -> Vec<u8> {
    let file = WrittenFile { format: FORMAT, version: VERSION, rows: snapshot };
    let mut text = serde_json::to_vec_pretty(&file).expect("rows have names and no other keys");
    text.push(b'\n');
    text
}

/// The snapshot that a text holds.
pub(super) fn read(text: &[u8]) -> Result<Snapshot, FormatError> {
    let version = version_of(text)?;
    let read = if version == 1 {
        serde_json::from_slice(text).and_then(version_1::upgrade)
    } else {
        serde_json::from_slice(text).map(|file: ReadFile| file.rows)
    };
    read.map_err(|error| damaged(&error))
}

/// The words of the JSON reader may quote what it read: only the place is said.
fn damaged(error: &serde_json::Error) -> FormatError {
    let what = format!("is damaged at line {}, column {}", error.line(), error.column());
    FormatError { what, cure: RESTORE }
}

/// The version of a token file of ours; refuses everything else.
fn version_of(text: &[u8]) -> Result<u32, FormatError> {
    let foreign = |what: String| FormatError {
        what,
        cure: "name another file for the store; tokens that it holds can be connected in its place",
    };
    if text.trim_ascii().is_empty() {
        return Err(FormatError {
            what: "is empty, as no token file ever is".to_owned(),
            cure: "put back a copy of it, or remove it to begin with an empty one",
        });
    }
    let header: FileHeader = serde_json::from_slice(text).map_err(|error| {
        let ours = text.trim_ascii_start().starts_with(b"{\n  \"format\": \"jeton tokens\"");
        if ours {
            return damaged(&error);
        }
        foreign("is not a token file of jeton".to_owned())
    })?;
    match (header.format.as_deref(), header.version) {
        (Some(FORMAT), Some(version @ 1..=VERSION)) => Ok(version),
        (Some(FORMAT), Some(version)) => Err(FormatError {
            what: format!("was written by another jeton (version {version}, this one knows {VERSION})"),
            cure: "use the jeton that wrote it",
        }),
        _ => Err(foreign("is JSON, and not a token file of jeton".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wrong(text: &str) -> FormatError {
        read(text.as_bytes()).unwrap_err()
    }

    #[test]
    fn an_empty_image_is_read_again() {
        assert_eq!(read(&write(&Snapshot::default())), Ok(Snapshot::default()));
    }

    #[test]
    fn what_is_not_ours_is_told_from_what_is_damaged() {
        assert!(wrong("").what.contains("is empty"));
        assert!(wrong("A letter.").what.contains("is not a token file"));
        assert!(wrong(r#"{"access_token": "hush"}"#).what.contains("is JSON, and not a token file"));
        assert!(wrong("[1]").what.contains("is not a token file"));
        let ours = String::from_utf8(write(&Snapshot::default())).unwrap();
        assert!(wrong(&ours[..ours.len() - 4]).what.starts_with("is damaged at line"));
        assert!(
            wrong(&ours.replace("\"revision\": 0", "\"revision\": -1")).what.contains("damaged at line 5")
        );
        assert!(wrong(&ours.replace("\"revision\"", "\"revisions\"")).what.contains("is damaged"));
        assert!(wrong(&ours.replace("\"version\": 3", "\"version\": 7")).what.contains("version 7"));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic_and_none_is_quoted(text in "\\PC{0,80}") {
            if let Err(wrong) = read(format!(r#"{{"format": "jeton tokens", "version": 1, "x": "hush {text}"#).as_bytes()) {
                prop_assert!(!wrong.what.contains("hush"));
            }
        }
    }
}
