//! What stands in a token file. It is JSON with names that people know; tokens and replies in it are sealed by the
//! keeper.
//!
//! Every row is taken apart and put together field by field, so that no field of a row is forgotten here.

mod attempts;
mod connections;
mod consents;
mod nodes;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jeton_core::id::{AttemptId, ConnectionName, ConsentId, InstanceId, OperationId};
use jeton_core::keep::connection::Revision;
use jeton_core::keep::ports::Identity;
use jeton_core::time::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::memory::snapshot::{Operation, Snapshot};
use attempts::AttemptRow;
use connections::ConnectionRow;
use consents::ConsentRow;
use nodes::NodeRow;

/// What tells a token file of ours from others.
const FORMAT: &str = "jeton tokens";

/// The version that is written, and the latest that is read.
const VERSION: u32 = 1;

/// Why a file is not read. The text holds nothing of what stands in the file but its version.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FormatError {
    pub(super) what: String,
    pub(super) cure: &'static str,
}

/// Bytes as base64 text.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Bytes(Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64.decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// As much of a file as tells whose it is.
#[derive(Deserialize)]
struct Header {
    format: Option<String>,
    version: Option<u32>,
}

/// What an older binary does not know it would lose when it writes: unknown fields are refused.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenFile {
    format: String,
    version: u32,
    revision: Revision,
    #[serde(skip_serializing_if = "Option::is_none")]
    installation: Option<Installation>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    settings: BTreeMap<String, Bytes>,
    connections: BTreeMap<ConnectionName, ConnectionRow>,
    attempts: Vec<AttemptRow>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    operations: Vec<OperationRow>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    consents: Vec<ConsentRow>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    nodes: Vec<NodeRow>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Installation {
    instance: InstanceId,
    key_check: Bytes,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OperationRow {
    id: OperationId,
    connection: ConnectionName,
    act: String,
    done_at: Timestamp,
}

/// The text of a snapshot.
pub(super) fn write(snapshot: &Snapshot) -> Vec<u8> {
    let Snapshot {
        revision,
        identity,
        settings,
        connections,
        attempts,
        operations,
        consents,
        nodes,
        changed: _,
    } = snapshot.clone();
    let file = TokenFile {
        format: FORMAT.to_owned(),
        version: VERSION,
        revision,
        installation: identity
            .map(|Identity { instance, key_check }| Installation { instance, key_check: Bytes(key_check) }),
        settings: settings.into_iter().map(|(name, value)| (name, Bytes(value))).collect(),
        connections: connections.into_iter().map(|(name, row)| (name, row.into())).collect(),
        attempts: attempts.into_values().map(AttemptRow::from).collect(),
        operations: operations
            .into_iter()
            .map(|(id, Operation { connection, act, done_at })| OperationRow { id, connection, act, done_at })
            .collect(),
        consents: consents.into_values().map(ConsentRow::from).collect(),
        nodes: nodes.into_values().map(NodeRow::from).collect(),
    };
    let mut text = serde_json::to_vec_pretty(&file).expect("rows have names and no other keys");
    text.push(b'\n');
    text
}

/// The snapshot that a text tells.
pub(super) fn read(text: &[u8]) -> Result<Snapshot, FormatError> {
    whose(text)?;
    // The words of the JSON reader may quote what it read: only the place is said.
    let file: TokenFile = serde_json::from_slice(text).map_err(|error| FormatError {
        what: format!("is damaged at line {}, column {}", error.line(), error.column()),
        cure: "put back a copy of it that is whole, or move it away to begin with an empty one",
    })?;
    let by_id = |row: AttemptRow| {
        let entry = row.into_entry();
        (entry.attempt.id, entry)
    };
    let attempts: BTreeMap<AttemptId, _> = file.attempts.into_iter().map(by_id).collect();
    let by_id = |row: ConsentRow| {
        let consent = row.into_consent();
        (consent.id, consent)
    };
    let consents: BTreeMap<ConsentId, _> = file.consents.into_iter().map(by_id).collect();
    let operation =
        |OperationRow { id, connection, act, done_at }| (id, Operation { connection, act, done_at });
    Ok(Snapshot {
        revision: file.revision,
        identity: file
            .installation
            .map(|Installation { instance, key_check }| Identity { instance, key_check: key_check.0 }),
        settings: file.settings.into_iter().map(|(name, value)| (name, value.0)).collect(),
        connections: file
            .connections
            .into_iter()
            .map(|(name, row)| (name.clone(), row.into_row(name)))
            .collect(),
        attempts,
        operations: file.operations.into_iter().map(operation).collect(),
        consents,
        nodes: file.nodes.into_iter().map(NodeRow::into_node).map(|node| (node.node.node, node)).collect(),
        changed: false,
    })
}

/// Refuses what is not a token file of ours, or of a newer jeton.
fn whose(text: &[u8]) -> Result<(), FormatError> {
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
    let header: Header = serde_json::from_slice(text).map_err(|error| {
        let ours = text.trim_ascii_start().starts_with(b"{\n  \"format\": \"jeton tokens\"");
        if ours {
            let (line, column) = (error.line(), error.column());
            let cure = "put back a copy of it that is whole, or move it away to begin with an empty one";
            return FormatError { what: format!("is damaged at line {line}, column {column}"), cure };
        }
        foreign("is not a token file of jeton".to_owned())
    })?;
    match (header.format.as_deref(), header.version) {
        (Some(FORMAT), Some(VERSION)) => Ok(()),
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
            wrong(&ours.replace("\"revision\": 0", "\"revision\": -1")).what.contains("damaged at line 4")
        );
        assert!(wrong(&ours.replace("\"revision\"", "\"revisions\"")).what.contains("is damaged"));
        assert!(wrong(&ours.replace("\"version\": 1", "\"version\": 7")).what.contains("version 7"));
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
