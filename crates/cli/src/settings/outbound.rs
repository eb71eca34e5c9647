//! Reads `[outbound]`: how hosts of providers are reached.

use std::fs;
use std::sync::Arc;

use jeton_keeper::{Bypass, NoProxy, OutboundSettings, Proxy, Roots};
use toml::Value;
use url::Host;

use super::reader::{Reader, text, texts};
use super::values::path;

/// What `outbound.proxy` says where no proxy is to be used, whatever the environment says.
const NO_PROXY: &str = "none";

/// Reads the section. One setting for token endpoints and APIs: a host that may get a client secret may get a token.
pub(super) fn settings(reader: &mut Reader<'_>) -> OutboundSettings {
    OutboundSettings {
        allow_private_captured_hosts: reader.boolean("keeper.allow_private_captured_hosts"),
        roots: roots(reader),
        proxy: proxy(reader),
    }
}

/// The authorities that hosts of providers may be certified by, besides the public ones and those of the system.
fn roots(reader: &mut Reader<'_>) -> Roots {
    let Some(file) = reader.file("outbound.ca_file") else { return Roots::default() };
    let read = fs::read(&file).map_err(|error| format!("cannot be read: {error}"));
    read.and_then(|text| Roots::from_pem(&text)).unwrap_or_else(|problem| {
        let shown = file.display();
        reader.fault(
            &path("outbound.ca_file"),
            format!("the file {shown} {problem}; name one with certificates in PEM, or leave it out"),
        );
        Roots::default()
    })
}

fn proxy(reader: &mut Reader<'_>) -> Option<Proxy> {
    let bypass = bypass(reader);
    if reader.values.get(&path("outbound.proxy")).is_some() {
        let read = |value: &Value| {
            let text = text(value)?;
            if text == NO_PROXY { Ok(None) } else { Proxy::parse(&text, bypass).map(Some) }
        };
        return reader.read("outbound.proxy", read).flatten();
    }
    let (name, url) = first_variable(reader, &Proxy::VARIABLES)?;
    let cure = format!("; correct the variable, or set `outbound.proxy`, to `{NO_PROXY}` for none");
    Proxy::parse(&url, bypass).map_err(|problem| reader.variable_fault(name, problem + &cure)).ok()
}

/// The hosts that are reached without a proxy.
fn bypass(reader: &mut Reader<'_>) -> NoProxy {
    if reader.values.get(&path("outbound.no_proxy")).is_some() {
        let read =
            |value: &Value| texts(value, "hosts")?.iter().map(|entry| entry.parse::<Bypass>()).collect();
        return reader.read("outbound.no_proxy", read).unwrap_or_default();
    }
    let listed = first_variable(reader, &NoProxy::VARIABLES).map(|(_, text)| text).unwrap_or_default();
    NoProxy::of_variable(&listed)
}

/// The first of these variables that is not empty, and its text.
fn first_variable(reader: &mut Reader<'_>, names: &[&'static str]) -> Option<(&'static str, String)> {
    names.iter().find_map(|name| match reader.environment.get(name) {
        Ok(found) => {
            let text = found?.reveal().trim().to_owned();
            (!text.is_empty()).then_some((*name, text))
        }
        Err(problem) => {
            reader.variable_fault(name, problem);
            None
        }
    })
}

/// The hosts that plain http may go to, as they stand in URLs.
pub(super) fn plain_http_hosts(reader: &mut Reader<'_>) -> Arc<[String]> {
    let read = |value: &Value| {
        let hosts = texts(value, "hosts")?.into_iter().map(|text| {
            let bare = text.trim_matches(['[', ']']);
            let literal = if bare.contains(':') { format!("[{bare}]") } else { bare.to_owned() };
            Host::parse(&literal).map(|host| host.to_string()).map_err(|_| {
                format!("{text:?} is not a host: write a name or an address, without scheme and port, such as \"keycloak\"")
            })
        });
        hosts.collect::<Result<Vec<_>, _>>()
    };
    reader.read("outbound.plain_http_hosts", read).unwrap_or_default().into()
}
