//! A schema of its own within a database, for what is thrown away afterwards. The store stays in it when its URL says
//! `options=-c search_path=NAME`.

use jeton_core::keep::ports::StoreError;

use super::address::Address;
use super::errors::PostgresError;
use super::options::PostgresOptions;
use super::session::Sessions;
use super::store::PostgresStore;

impl PostgresStore {
    /// Makes an empty schema with this name, which consists of `a-z`, `0-9` and `_`.
    ///
    /// # Errors
    /// As [`PostgresStore::open`]; and it is there already, or the user may make none.
    pub async fn make_schema(options: &PostgresOptions, name: &str) -> Result<(), StoreError> {
        script(options, name, &format!("CREATE SCHEMA {name}")).await
    }

    /// Removes a schema and everything in it.
    ///
    /// # Errors
    /// As [`PostgresStore::open`]; and it belongs to another user.
    pub async fn drop_schema(options: &PostgresOptions, name: &str) -> Result<(), StoreError> {
        script(options, name, &format!("DROP SCHEMA IF EXISTS {name} CASCADE")).await
    }
}

async fn script(options: &PostgresOptions, name: &str, sql: &str) -> Result<(), StoreError> {
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
        return Err(StoreError::Refused(format!("{name:?} is no name for a schema: use a-z, 0-9 and _")));
    }
    let address = Address::of(options)?;
    let sessions = Sessions::new(&address, options)?;
    let work = async {
        let mut session = sessions.acquire().await?;
        session.script(sql).await?;
        session.release();
        Ok(())
    };
    let done = work.await.map_err(|failure: PostgresError| failure.into_store_error(&address));
    sessions.close();
    done
}
