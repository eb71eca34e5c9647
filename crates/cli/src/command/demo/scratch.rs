//! The part of a database that the demo has to itself: a schema that is removed in the end.

use jeton_core::entropy::Entropy;
use jeton_core::secret::Secret;
use jeton_store::{PostgresOptions, PostgresStore};

use crate::command_error::CommandError;

/// A schema that was made for this demo.
#[derive(Debug)]
pub(super) struct Scratch {
    options: PostgresOptions,
    name: String,
}

impl Scratch {
    /// Makes the schema in the database that `url` names.
    pub(super) async fn make(url: &str, entropy: &dyn Entropy) -> Result<Self, CommandError> {
        if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
            let text = "`--store` takes the URL of a PostgreSQL database that is there, such as \
                        postgres://user:password@localhost/jeton; leave it out for a file";
            return Err(CommandError::usage(text));
        }
        if url.contains("options=") {
            let text =
                "the demo gives the database options of its own; leave `options` out of the URL of `--store`";
            return Err(CommandError::usage(text));
        }
        let mut bytes = [0; 4];
        entropy.fill(&mut bytes);
        let name = format!("jeton_demo_{:08x}", u32::from_le_bytes(bytes));
        let options = PostgresOptions::new(Secret::new(url));
        PostgresStore::make_schema(&options, &name).await?;
        Ok(Self { options, name })
    }

    /// The URL by which everything stays in the schema.
    pub(super) fn url(&self) -> Secret {
        let url = self.options.url.reveal();
        let joint = if url.contains('?') { '&' } else { '?' };
        Secret::new(format!("{url}{joint}options=-c%20search_path%3D{}", self.name))
    }

    /// Removes the schema and all that is in it.
    pub(super) async fn remove(self) -> Result<(), CommandError> {
        Ok(PostgresStore::drop_schema(&self.options, &self.name).await?)
    }
}
