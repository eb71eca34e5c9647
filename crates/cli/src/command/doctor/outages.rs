//! Token endpoints that do not answer, as the running nodes say.

use jeton_core::id::ConnectionName;
use jeton_core::keep::unavailable::UnavailableEndpoint;
use jeton_server::provider_says;

use super::report::Report;
use super::store::StoreFindings;
use crate::settings::Settings;

/// Reports each token endpoint that does not answer, and answers them.
pub(super) fn check(
    settings: &Settings,
    found: &StoreFindings,
    report: &mut Report,
) -> Vec<UnavailableEndpoint> {
    let told = found.nodes.iter().flat_map(|node| node.unavailable.iter().cloned());
    let outages = UnavailableEndpoint::merge(told);
    for outage in &outages {
        let served = settings.definitions.iter().filter(|(_, definition)| outage.serves(definition));
        let names: Vec<&ConnectionName> = served.map(|(name, _)| name).collect();
        let count = match names.as_slice() {
            [one] => format!("`{one}`"),
            names => format!("{} connections", names.len()),
        };
        let said = outage.last_failure.provider_message.as_deref().map(provider_says);
        let said = said.map(|said| format!("; {said}")).unwrap_or_default();
        let text = format!("{}; it refreshes {count}{said}", outage.describe());
        report.warning("token endpoint", text);
    }
    outages
}
