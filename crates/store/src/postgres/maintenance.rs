//! The port `Maintenance`: the identity of the installation, its clock, its settings. Each write is one statement that may be
//! sent again.

use async_trait::async_trait;
use jeton_core::id::InstanceId;
use jeton_core::keep::ports::{Identity, Maintenance, StoreError};
use jeton_core::time::Timestamp;
use tokio_postgres::Row;

use super::PostgresStore;
use super::connections_table;
use super::database_identity::{self, DatabaseIdentity};
use super::statement::Statement;
use crate::row_reader::RowReader;

pub(super) const IDENTITY: &str = "SELECT instance, key_check FROM store";

pub(super) fn read_identity(rows: &[Row]) -> Result<Option<Identity>, StoreError> {
    let Some(row) = rows.first() else {
        let (what, row) = ("is missing".into(), "the only row".into());
        return Err(StoreError::Inconsistent { table: "store", column: "single", row, what });
    };
    let mut columns = RowReader::new(row, "store").keyed(&"the only row");
    let instance = columns.bytes_or_null("instance", InstanceId::from_bytes)?;
    let key_check = columns.blob_or_null("key_check")?;
    Ok(instance.zip(key_check).map(|(instance, key_check)| Identity { instance, key_check }))
}

#[async_trait]
impl Maintenance for PostgresStore {
    async fn identity(&self) -> Result<Option<Identity>, StoreError> {
        read_identity(&self.rows(&Statement::new(IDENTITY)).await?)
    }

    async fn initialise(&self, identity: Identity) -> Result<Identity, StoreError> {
        let take = Statement::new(
            "UPDATE store SET instance = $1, key_check = $2 WHERE instance IS NULL RETURNING single",
        )
        .bytes(&identity.instance.as_bytes()[..])
        .bytes(identity.key_check.as_slice());
        self.write_one(take).await?;
        let winner = self.identity().await?;
        Ok(winner.unwrap_or(identity))
    }

    async fn adopt(&self, instance: InstanceId) -> Result<(), StoreError> {
        let shared = &*self.shared;
        let here = shared.retry(|| DatabaseIdentity::here(&shared.sessions)).await?;
        let adopt =
            Statement::new("UPDATE store SET instance = $1 WHERE instance IS NOT NULL RETURNING single")
                .bytes(&instance.as_bytes()[..]);
        // A store that belongs to nobody has no place either.
        let settle = Statement::new(
            "INSERT INTO settings (name, value) SELECT $1, $2 FROM store WHERE instance IS NOT NULL
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )
        .text(database_identity::SETTING)
        .bytes(here.text().as_bytes());
        let answers = self.write_all(vec![adopt, settle]).await?;
        if answers.first().is_none_or(Vec::is_empty) {
            let text = "the store is new and belongs to nobody: there is nothing to adopt".into();
            return Err(StoreError::Refused(text));
        }
        Ok(())
    }

    async fn is_copy(&self) -> Result<bool, StoreError> {
        let shared = &*self.shared;
        let here = shared.retry(|| DatabaseIdentity::here(&shared.sessions)).await?;
        let recorded = match shared.retry(|| DatabaseIdentity::recorded(&shared.sessions)).await? {
            Some(recorded) => recorded,
            None => DatabaseIdentity::parse(
                &self.insert_setting(database_identity::SETTING, here.text().into()).await?,
            )?,
        };
        if here.differs(recorded) {
            return Ok(true);
        }
        if here.knows_more(recorded) {
            let learn = Statement::new(
                "UPDATE settings SET value = $1 WHERE name = $2 AND value = $3 RETURNING name",
            )
            .bytes(here.text().as_bytes())
            .text(database_identity::SETTING)
            .bytes(recorded.text().as_bytes());
            self.write_one(learn).await?;
        }
        Ok(false)
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        match self.told_instant() {
            Some(told) => Ok(Timestamp::from_micros(told)),
            None => {
                connections_table::instant(&self.rows(&Statement::new(connections_table::INSTANT)).await?)
            }
        }
    }

    async fn find_setting(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let find = Statement::new("SELECT value FROM settings WHERE name = $1").text(name);
        let rows = self.rows(&find).await?;
        Ok(rows
            .first()
            .map(|row| RowReader::new(row, "settings").blob_or_null("value"))
            .transpose()?
            .flatten())
    }

    async fn insert_setting(&self, name: &str, value: Vec<u8>) -> Result<Vec<u8>, StoreError> {
        let keep = Statement::new(
            "INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING RETURNING name",
        )
        .text(name)
        .bytes(value.as_slice());
        self.write_one(keep).await?;
        Ok(self.find_setting(name).await?.unwrap_or(value))
    }
}
