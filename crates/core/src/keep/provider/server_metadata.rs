//! What an authorization server says of itself (RFC 8414; `OpenID` Connect Discovery 1.0): where its endpoints are, and what it
//! supports.
//!
//! Secrets go where this document says. So it counts only from the issuer itself, it may name no weaker way than the issuer's
//! own, and one that later sends secrets to another host is not taken ([`ServerMetadata::moved_endpoints`]).

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use super::hosts::{self, AllowedHosts, HostFrom};
use super::schema::MetadataMember;
use super::step::ClientAuth;

/// The members that are URLs.
const ENDPOINTS: [MetadataMember; 4] = [
    MetadataMember::AuthorizationEndpoint,
    MetadataMember::TokenEndpoint,
    MetadataMember::RevocationEndpoint,
    MetadataMember::IntrospectionEndpoint,
];

/// Where the metadata of an issuer is: the path of RFC 8414, section 3.1, between host and path of the issuer, and that of
/// `OpenID` Connect Discovery, section 4.1, behind its path.
const OAUTH_PATH: &str = "/.well-known/oauth-authorization-server";
const OPENID_PATH: &str = "/.well-known/openid-configuration";

/// The URLs at which an issuer's metadata may be, in the order in which they are tried.
pub(super) fn metadata_urls(issuer: &Url) -> [Url; 2] {
    let path = issuer.path().trim_end_matches('/');
    [format!("{OAUTH_PATH}{path}"), format!("{path}{OPENID_PATH}")].map(|path| {
        let mut url = issuer.clone();
        url.set_path(&path);
        url
    })
}

/// An issuer as settings write it (RFC 8414, section 2).
///
/// # Errors
/// What is wrong with it, and what would be right.
pub(super) fn issuer_url(text: &str, plain_http: &[String]) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|_| {
        "not a URL: write the `issuer` of the server's metadata, such as https://sso.example.com".to_owned()
    })?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err("an issuer has no `?` and no `#` part: leave them out".to_owned());
    }
    hosts::check(&url, HostFrom::Operator, AllowedHosts { listed: &[], plain_http })?;
    Ok(url)
}

/// What an issuer says of itself, as far as it is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerMetadata {
    issuer: String,
    /// URLs, which [`ServerMetadata::check`] has seen.
    endpoints: BTreeMap<MetadataMember, String>,
    auth_methods: Option<Vec<String>>,
    challenge_methods: Option<Vec<String>>,
    sends_issuer: bool,
}

impl ServerMetadata {
    /// Reads the document that came for an issuer.
    ///
    /// # Errors
    /// One sentence that says what is wrong with it.
    pub(super) fn read(issuer: &str, document: &Value, plain_http: &[String]) -> Result<Self, String> {
        let named = text(document, "issuer")?.ok_or("it names no `issuer`")?;
        let mut endpoints = BTreeMap::new();
        for member in ENDPOINTS {
            if let Some(written) = text(document, member.as_str())? {
                endpoints.insert(member, written.to_owned());
            }
        }
        let metadata = Self {
            issuer: named.to_owned(),
            endpoints,
            auth_methods: texts(document, MetadataMember::TokenEndpointAuthMethods.as_str())?,
            challenge_methods: texts(document, "code_challenge_methods_supported")?,
            sends_issuer: match document.get("authorization_response_iss_parameter_supported") {
                None | Some(Value::Null) => false,
                Some(Value::Bool(sends)) => *sends,
                Some(_) => {
                    return Err(not_a("authorization_response_iss_parameter_supported", "true or false"));
                }
            },
        };
        metadata.check(issuer, plain_http)?;
        Ok(metadata)
    }

    /// Checks that it is the issuer's own, and that secrets may go where it says.
    ///
    /// # Errors
    /// One sentence that says what is wrong with it.
    pub(super) fn check(&self, issuer: &str, plain_http: &[String]) -> Result<(), String> {
        // RFC 8414, section 3.3: identical, without any normalization.
        if self.issuer != issuer {
            return Err(format!("it is that of the issuer {:?}", clip(&self.issuer)));
        }
        if !self.endpoints.contains_key(&MetadataMember::TokenEndpoint) {
            return Err("it names no `token_endpoint`".to_owned());
        }
        let issuer_is_https = issuer.starts_with("https://");
        for (member, written) in &self.endpoints {
            let refuse =
                |problem: &str| Err(format!("its `{member}` {:?} is refused: {problem}", clip(written)));
            let Ok(url) = Url::parse(written) else { return refuse("it is not a URL") };
            let host = url.host_str().unwrap_or_default();
            if url.fragment().is_some() {
                return refuse("a URL that is requested has no `#` part");
            }
            let listed = plain_http.iter().any(|name| name == host);
            if url.scheme() == "http" && issuer_is_https && !listed {
                return refuse("it is plain http, and the issuer is https");
            }
            hosts::check(&url, HostFrom::Operator, AllowedHosts { listed: &[], plain_http })
                .or_else(|problem| refuse(&problem))?;
        }
        Ok(())
    }

    /// Who it is of.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The URL of an endpoint; `None` where the server has none, or the member is not one.
    pub fn endpoint(&self, member: MetadataMember) -> Option<&str> {
        self.endpoints.get(&member).map(String::as_str)
    }

    /// Whether every answer to a consent names the issuer (RFC 9207, section 3).
    pub fn sends_issuer(&self) -> bool {
        self.sends_issuer
    }

    /// Whether the server says which PKCE methods it knows, and S256 is not among them (RFC 7636, section 4.2).
    pub fn lacks_pkce(&self) -> bool {
        self.challenge_methods.as_ref().is_some_and(|known| !known.iter().any(|method| method == "S256"))
    }

    /// How a client with a secret authenticates: the first way of ours that the server supports. `None` where the server does not
    /// say, or supports none of them.
    pub fn client_auth(&self) -> Option<ClientAuth> {
        let supports =
            |name: &str| self.auth_methods.as_ref()?.iter().any(|method| method == name).then_some(());
        supports("client_secret_basic")
            .map(|()| ClientAuth::Basic)
            .or_else(|| supports("client_secret_post").map(|()| ClientAuth::Post))
    }

    /// The ways in which clients may authenticate, where the server says so.
    pub fn auth_methods(&self) -> Option<&[String]> {
        self.auth_methods.as_deref()
    }

    /// The text that a variable takes from a member.
    pub(super) fn value(&self, member: MetadataMember) -> Option<&str> {
        match member {
            MetadataMember::TokenEndpointAuthMethods => self.client_auth().map(ClientAuth::as_str),
            endpoint => self.endpoint(endpoint),
        }
    }

    /// The endpoints that are at another host, or another port, than `before`, and not at the issuer's own: what was sent to the one
    /// would go to the other. The first of each pair is the member.
    pub fn moved_endpoints(&self, before: &Self) -> Vec<(MetadataMember, &str)> {
        let origin = |url: &str| Url::parse(url).ok().map(|url| url.origin().ascii_serialization());
        let issuer = origin(&self.issuer);
        let is_moved = |member: MetadataMember, url: &str| {
            // An endpoint that was not there before is expected where tokens come from.
            let known = before.endpoint(member).or_else(|| before.endpoint(MetadataMember::TokenEndpoint));
            let now = origin(url);
            now != known.and_then(origin) && now != issuer
        };
        let all = self.endpoints.iter().map(|(member, url)| (*member, url.as_str()));
        all.filter(|(member, url)| is_moved(*member, url)).collect()
    }
}

fn not_a(member: &str, kind: &str) -> String {
    format!("its `{member}` is not {kind}")
}

/// A text; `None` where the member is absent or null.
fn text<'v>(document: &'v Value, member: &str) -> Result<Option<&'v str>, String> {
    match document.get(member) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(not_a(member, "a text")),
    }
}

fn texts(document: &Value, member: &str) -> Result<Option<Vec<String>>, String> {
    let wrong = || not_a(member, "a list of texts");
    match document.get(member) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong))
            .collect::<Result<_, _>>()
            .map(Some),
        Some(_) => Err(wrong()),
    }
}

fn clip(text: &str) -> String {
    text.chars().take(200).collect()
}

/// What is known of an issuer in this process; connections of one issuer share it. Documents are kept until it is dropped, so that
/// what was read can be borrowed; one that says the same as the last is not kept again.
#[derive(Debug, Default)]
pub struct KnownMetadata {
    first: OnceLock<Box<MetadataEntry>>,
}

#[derive(Debug)]
struct MetadataEntry {
    metadata: ServerMetadata,
    next: KnownMetadata,
}

impl KnownMetadata {
    /// The document that was read last.
    pub fn latest(&self) -> Option<&ServerMetadata> {
        let mut entry = self.first.get()?;
        while let Some(next) = entry.next.first.get() {
            entry = next;
        }
        Some(&entry.metadata)
    }

    /// Takes a document as the latest.
    pub fn put(&self, metadata: ServerMetadata) {
        if self.latest() == Some(&metadata) {
            return;
        }
        let mut entry = Box::new(MetadataEntry { metadata, next: Self::default() });
        let mut place = self;
        while let Err(back) = place.first.set(entry) {
            entry = back;
            let Some(taken) = place.first.get() else { return };
            place = &taken.next;
        }
    }
}

#[cfg(test)]
#[path = "server_metadata_tests.rs"]
mod tests;
