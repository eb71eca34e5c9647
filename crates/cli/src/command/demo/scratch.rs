//! A PostgreSQL schema for the demo alone.

use jeton_core::entropy::Entropy;
use jeton_core::secret::Secret;
use jeton_store::{PostgresOptions, PostgresStore};

use crate::command_error::CommandError;

/// The schema. [`Scratch::remove`] removes it.
#[derive(Debug)]
pub(super) struct Scratch {
    options: PostgresOptions,
    name: String,
}

impl Scratch {
    /// Creates the schema in the database at `url`.
    pub(super) async fn create(url: &str, entropy: &dyn Entropy) -> Result<Self, CommandError> {
        if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
            let text = "`--store` takes the URL of an existing PostgreSQL database, such as \
                        postgres://user:password@localhost/jeton; leave it out for a file";
            return Err(CommandError::usage(text));
        }
        if url.contains("options=") {
            let text = "the demo sets `options` itself; leave `options` out of the URL of `--store`";
            return Err(CommandError::usage(text));
        }
        let mut bytes = [0; 4];
        entropy.fill(&mut bytes);
        let name = format!("jeton_demo_{:08x}", u32::from_le_bytes(bytes));
        let options = PostgresOptions::new(Secret::new(url));
        PostgresStore::make_schema(&options, &name).await?;
        Ok(Self { options, name })
    }

    /// A URL whose sessions use only the schema.
    pub(super) fn url(&self) -> Secret {
        let url = self.options.url.reveal();
        let joint = if url.contains('?') { '&' } else { '?' };
        Secret::new(format!("{url}{joint}options=-c%20search_path%3D{}", self.name))
    }

    /// Removes the schema with everything in it.
    pub(super) async fn remove(self) -> Result<(), CommandError> {
        Ok(PostgresStore::drop_schema(&self.options, &self.name).await?)
    }
}
