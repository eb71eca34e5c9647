//! The providers that there are: those built in, and those that the operator adds.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::fault::FileError;
use super::load::Provider;
use crate::id::ProviderName;
use crate::suggest;

macro_rules! provider_files {
    ($($file:literal),+ $(,)?) => {
        [$(($file, include_str!(concat!("../../../../../providers/", $file)))),+]
    };
}

/// The files that are part of the binary, in alphabetical order. Adding a provider is adding its file here.
pub(super) const BUILT_IN: [(&str, &str); 23] = provider_files![
    "amocrm.toml",
    "atlassian.toml",
    "box.toml",
    "dropbox.toml",
    "finnotech-code.toml",
    "finnotech.toml",
    "github-app.toml",
    "google.toml",
    "hubspot.toml",
    "jibit-ide.toml",
    "jibit-ppg.toml",
    "jibit-trf.toml",
    "kommo.toml",
    "microsoft.toml",
    "notion.toml",
    "oauth2.toml",
    "quickbooks.toml",
    "salesforce.toml",
    "shopify.toml",
    "slack-user.toml",
    "slack.toml",
    "xero.toml",
    "zoho.toml",
];

/// There is no provider of that name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no provider `{name}`; {cure}")]
pub struct UnknownProvider {
    /// What was asked for.
    pub name: String,
    /// The nearest right name, or all of them.
    pub cure: String,
}

/// The providers that there are, by name.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    providers: BTreeMap<ProviderName, Arc<Provider>>,
}

impl Catalogue {
    /// The providers that are part of the binary.
    ///
    /// # Panics
    /// Never in a binary whose tests passed: they load every file that is built in.
    pub fn builtin() -> Self {
        let mut catalogue = Self::default();
        for (file, text) in BUILT_IN {
            catalogue.add_file(file, text).expect("built-in provider files are loaded by the tests");
        }
        catalogue
    }

    /// Adds the text of a provider file; it replaces a provider of the same name, so that an operator can mend a
    /// built-in one. Gives the name it has.
    pub fn add_file(&mut self, file: &str, text: &str) -> Result<ProviderName, FileError> {
        let provider = Provider::from_toml(file, text)?;
        let name = provider.name().clone();
        self.providers.insert(name.clone(), Arc::new(provider));
        Ok(name)
    }

    /// The provider of that name.
    pub fn get(&self, name: &str) -> Result<&Arc<Provider>, UnknownProvider> {
        let found = self.providers.iter().find(|(known, _)| known.as_str() == name);
        found.map(|(_, provider)| provider).ok_or_else(|| {
            let names: Vec<_> = self.names().map(ProviderName::as_str).collect();
            UnknownProvider { name: name.chars().take(80).collect(), cure: suggest::hint(name, names) }
        })
    }

    /// All names, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &ProviderName> {
        self.providers.keys()
    }

    /// All providers, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Provider>> {
        self.providers.values()
    }
}
