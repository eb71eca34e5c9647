//! Service tokens of a home, for callers that need more than the API key may do.

use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::home::TempHome;

impl TempHome {
    /// Makes a service token with these scopes, by the command line; gives its text.
    ///
    /// # Errors
    /// The command failed.
    pub async fn service_token(&self, name: &str, scopes: &[&str]) -> Result<String> {
        let scopes = scopes.iter().flat_map(|scope| ["--scope", scope]);
        let words = ["service-token", "create", name, "--json"].into_iter().chain(scopes);
        let made = self.command(words)?.run(Duration::from_secs(30)).await?.json()?;
        Ok(made["token"].as_str().context("the answer has no `token`")?.to_owned())
    }
}
