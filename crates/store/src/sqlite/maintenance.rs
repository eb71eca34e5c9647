//! The port `Maintenance`: the identity of the installation, its clock, its settings.

use async_trait::async_trait;
use jeton_core::id::InstanceId;
use jeton_core::keep::ports::{Identity, Maintenance, StoreError};
use jeton_core::time::Timestamp;
use rusqlite::{OptionalExtension as _, params};

use super::SqliteStore;
use super::connections_table::first;
use super::errors::SqliteError;
use crate::row_reader::RowReader;

pub(super) fn identity(conn: &rusqlite::Connection) -> Result<Option<Identity>, SqliteError> {
    let found = first(conn, "SELECT instance, key_check FROM store", (), |row| {
        let mut columns = RowReader::new(row, "store").keyed(&"the only row");
        let instance = columns.bytes_or_null("instance", InstanceId::from_bytes)?;
        let key_check = columns.blob_or_null("key_check")?;
        Ok(instance.zip(key_check).map(|(instance, key_check)| Identity { instance, key_check }))
    })?;
    found.ok_or_else(|| {
        let (what, row) = ("is missing".into(), "the only row".into());
        StoreError::Inconsistent { table: "store", column: "only", row, what }.into()
    })
}

fn setting(conn: &rusqlite::Connection, name: &str) -> Result<Option<Vec<u8>>, SqliteError> {
    let mut statement = conn.prepare_cached("SELECT value FROM settings WHERE name = ?")?;
    Ok(statement.query_row(params![name], |row| row.get(0)).optional()?)
}

#[async_trait]
impl Maintenance for SqliteStore {
    async fn identity(&self) -> Result<Option<Identity>, StoreError> {
        self.readers.read(identity).await
    }

    async fn initialise(&self, wanted: Identity) -> Result<Identity, StoreError> {
        let found = move |tx: &super::SqliteTx<'_>| {
            if let Some(winner) = identity(tx.conn)? {
                return Ok(winner);
            }
            let mut statement = tx.conn.prepare_cached("UPDATE store SET instance = ?, key_check = ?")?;
            statement.execute(params![wanted.instance.as_bytes(), wanted.key_check])?;
            Ok(wanted.clone())
        };
        self.write(found).await
    }

    async fn adopt(&self, instance: InstanceId) -> Result<(), StoreError> {
        let adopt = move |tx: &super::SqliteTx<'_>| {
            let mut statement =
                tx.conn.prepare_cached("UPDATE store SET instance = ? WHERE instance IS NOT NULL")?;
            if statement.execute(params![instance.as_bytes()])? == 0 {
                let text = "the store is new and belongs to nobody: there is nothing to adopt".into();
                return Err(StoreError::Refused(text).into());
            }
            Ok(())
        };
        self.write(adopt).await
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        Ok(self.shared.clock.read().now)
    }

    async fn find_setting(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let name = name.to_owned();
        self.readers.read(move |conn| setting(conn, &name)).await
    }

    async fn insert_setting(&self, name: &str, value: Vec<u8>) -> Result<Vec<u8>, StoreError> {
        let name = name.to_owned();
        let keep = move |tx: &super::SqliteTx<'_>| {
            let mut statement =
                tx.conn.prepare_cached("INSERT OR IGNORE INTO settings (name, value) VALUES (?, ?)")?;
            statement.execute(params![name, value])?;
            Ok(setting(tx.conn, &name)?.unwrap_or_default())
        };
        self.write(keep).await
    }
}
