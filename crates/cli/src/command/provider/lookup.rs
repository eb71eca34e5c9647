//! Finds the provider that an argument names.

use std::path::Path;
use std::sync::Arc;

use jeton_core::keep::provider::{Catalogue, Provider};

use crate::command_error::CommandError;
use crate::error_code::ErrorCode;
use crate::settings;

/// The provider of that name.
pub(super) fn by_name<'c>(catalogue: &'c Catalogue, name: &str) -> Result<&'c Arc<Provider>, CommandError> {
    catalogue.get(name).map_err(|error| CommandError::new(ErrorCode::UnknownProvider, error.to_string()))
}

/// The provider `what`, or the provider of the file `what`.
pub(super) fn by_name_or_file(catalogue: &Catalogue, what: &str) -> Result<Arc<Provider>, CommandError> {
    if !what.contains('/') && Path::new(what).extension().is_none_or(|end| end != "toml") {
        return by_name(catalogue, what).cloned();
    }
    let mut alone = Catalogue::default();
    let name = settings::add_provider(&mut alone, Path::new(what))
        .map_err(|problem| CommandError::new(ErrorCode::ProviderFileInvalid, problem))?;
    by_name(&alone, &name).cloned()
}
