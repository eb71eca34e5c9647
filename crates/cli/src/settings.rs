//! Settings: built-in defaults, then the settings file, the environment and flags; each value keeps the place where it
//! was written.
//!
//! * Which settings are there? `config.default.toml` at the root of the repository, read by [`schema`].
//! * In which order are they read? [`load`]; a file by [`document`], into [`values`].
//! * What does each become? [`assemble`], [`connections`], [`gateway`], [`store`], [`outbound`], [`access`], by a [`reader`].

mod access;
mod assemble;
mod catalogue;
mod connections;
mod document;
mod fault;
mod gateway;
mod load;
mod old_gateway;
mod outbound;
mod reader;
mod schema;
pub(crate) mod show;
mod store;
mod store_url;
mod values;

pub(crate) use assemble::{Settings, public_callback};
pub(crate) use catalogue::add as add_provider;
pub(crate) use connections::secret_from_file;
pub(crate) use fault::SettingFault;
pub(crate) use load::{LoadedSettings, SettingSources, load, load_text, load_without_secrets, settings_file};
pub(crate) use schema::DEFAULTS;
pub(crate) use store::StoreSettings;

#[cfg(test)]
mod tests;
