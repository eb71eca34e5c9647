//! The connections as `jeton --json status` prints them.

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

/// What the script needs of one connection.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Connection {
    pub(super) name: String,
    /// `dead` asks a person to connect it again.
    pub(super) state: String,
}

/// Reads the list.
pub(super) fn read(printed: &Value) -> Result<Vec<Connection>> {
    let rows = printed.get("connections").or_else(|| printed.get("items")).unwrap_or(printed);
    serde_json::from_value(rows.clone()).context("reading the status")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_list_is_read_bare_or_named() {
        let row = json!([{ "name": "a", "state": "live", "generation": 3 }]);
        let read_row = read(&row).unwrap();
        assert_eq!(read_row, [Connection { name: "a".to_owned(), state: "live".to_owned() }]);
        assert_eq!(read(&json!({ "connections": row })).unwrap(), read_row);
        assert!(read(&json!({ "error": "x" })).is_err());
    }
}
