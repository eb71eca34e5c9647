//! The closed list of hosts that secrets may go to.

use std::net::IpAddr;

use psl::Psl as _;
use url::{Host, Url};

use super::fault::Flaw;

/// One entry of `hosts`: a name, or `*.` and a name for everything below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostPattern {
    name: String,
    below: bool,
}

impl HostPattern {
    /// Reads one entry.
    pub(super) fn parse(text: &str) -> Result<Self, Flaw> {
        let (name, below) = text.strip_prefix("*.").map_or((text, false), |name| (name, true));
        if name.contains('*') {
            return Err(Flaw::new(format!(
                "`{text}`: `*.` may stand only at the beginning; list the hosts one by one"
            )));
        }
        let local = is_loopback_name(name);
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-');
        let labels: Vec<_> = name.split('.').collect();
        if !local
            && (!name.chars().all(plain) || labels.iter().any(|label| label.is_empty()) || labels.len() < 2)
        {
            return Err(Flaw::new(format!(
                "`{text}` is not a host name: write it in lower case and without scheme, port or path, such as `api.example.com`"
            )));
        }
        if !local && name.parse::<IpAddr>().is_ok() {
            return Err(Flaw::new(format!("`{text}` is an address: write a host name")));
        }
        if below && (local || is_public_suffix(name)) {
            return Err(Flaw::new(format!(
                "`{text}` would allow hosts that anybody can register: name the provider's own domain after `*.`"
            )));
        }
        Ok(Self { name: name.to_owned(), below })
    }

    /// Whether it stands for many hosts of one provider, and this is one of them.
    pub(super) fn admits_below(&self, host: &str) -> bool {
        self.below && self.admits(host)
    }

    fn admits(&self, host: &str) -> bool {
        if self.below {
            host.strip_suffix(&self.name)
                .and_then(|left| left.strip_suffix('.'))
                .is_some_and(|left| !left.is_empty())
        } else {
            host == self.name
        }
    }
}

/// Whether anybody can register names right below this one, by the ICANN section of the public suffix list. The private section
/// is not asked: a provider may own such a domain, as Shopify owns `myshopify.com`.
fn is_public_suffix(name: &str) -> bool {
    psl::List
        .suffix(name.as_bytes())
        .is_some_and(|suffix| suffix == name && suffix.typ() == Some(psl::Type::Icann))
}

fn is_loopback_name(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Whether a URL's host is this machine itself.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// Who decided the host of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HostFrom {
    /// The provider file, or a part of a name that the operator completed.
    File,
    /// The operator, who wrote the whole host.
    Operator,
    /// Somebody outside: a callback or a reply.
    Captured,
}

/// Which hosts a secret may go to.
#[derive(Clone, Copy, Debug)]
pub(super) struct AllowedHosts<'a> {
    /// By the provider's file.
    pub(super) listed: &'a [HostPattern],
    /// Those in a private network that may be reached by plain http, by the operator's word.
    pub(super) plain_http: &'a [String],
}

impl<'a> AllowedHosts<'a> {
    pub(super) fn of_file(listed: &'a [HostPattern]) -> Self {
        Self { listed, plain_http: &[] }
    }
}

/// Refuses a URL that a secret must not be sent to.
pub(super) fn check(url: &Url, from: HostFrom, allowed: AllowedHosts<'_>) -> Result<(), String> {
    let hosts = allowed.listed;
    let host = url.host_str().unwrap_or_default();
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a URL must not carry a user name or password".to_owned());
    }
    match url.scheme() {
        "https" => {}
        "http" if from == HostFrom::Captured => {
            return Err(format!("plain http is not for captured hosts: use https for `{host}`"));
        }
        "http" if is_loopback(url) || allowed.plain_http.iter().any(|name| name == host) => {}
        "http" => {
            return Err(format!(
                "plain http is for this machine alone: use https for `{host}`, or, if it is in your private network, list \
                 it in `outbound.plain_http_hosts`"
            ));
        }
        other => return Err(format!("`{other}` is not a scheme that tokens are fetched with: use https")),
    }
    if from == HostFrom::Captured && (url.port().is_some() || is_loopback(url)) {
        return Err(format!("a captured host is a public one on the usual port, and `{host}` is not"));
    }
    if from == HostFrom::Operator || hosts.iter().any(|pattern| pattern.admits(host)) {
        return Ok(());
    }
    let names: Vec<_> =
        hosts.iter().map(|p| format!("`{}{}`", if p.below { "*." } else { "" }, p.name)).collect();
    let list = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    Err(format!("`{host}` is not among the hosts that secrets of this provider may go to ({list})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(url: &str, from: HostFrom) -> bool {
        let hosts =
            ["*.amocrm.ru", "api.example.com", "localhost"].map(|host| HostPattern::parse(host).unwrap());
        let plain_http = ["keycloak".to_owned(), "10.1.2.3".to_owned(), "[fd00::1]".to_owned()];
        let allowed = AllowedHosts { listed: &hosts, plain_http: &plain_http };
        check(&Url::parse(url).unwrap(), from, allowed).is_ok()
    }

    #[test]
    fn only_listed_hosts_are_allowed_and_a_star_stands_for_whole_labels() {
        assert!(allowed("https://acme.amocrm.ru/x", HostFrom::Captured));
        assert!(allowed("https://api.example.com/x", HostFrom::File));
        for url in [
            "https://amocrm.ru/",
            "https://evilamocrm.ru/",
            "https://acme.amocrm.ru.evil.com/",
            "https://x.api.example.com/",
            "http://acme.amocrm.ru/",
            "https://u:p@acme.amocrm.ru/",
            "ftp://acme.amocrm.ru/",
            "https://acme.amocrm.ru:8443/",
            "https://localhost:1/",
            "https://localhost/",
            "https://127.0.0.1/",
        ] {
            assert!(!allowed(url, HostFrom::Captured), "{url}");
        }
    }

    #[test]
    fn the_operator_may_write_any_https_host_and_http_on_this_machine_only() {
        assert!(allowed("https://sso.internal:8443/token", HostFrom::Operator));
        assert!(allowed("http://127.0.0.1:9000/token", HostFrom::Operator));
        assert!(allowed("http://[::1]:9000/token", HostFrom::Operator));
        assert!(allowed("http://localhost:9000/token", HostFrom::File));
        assert!(!allowed("http://sso.internal/token", HostFrom::Operator));
        assert!(!allowed("http://127.0.0.1.nip.io/token", HostFrom::Operator));
        assert!(!allowed("https://u@sso.internal/token", HostFrom::Operator));
    }

    #[test]
    fn plain_http_goes_to_hosts_that_the_operator_lists_and_never_where_somebody_outside_says() {
        for listed in ["http://keycloak:8080/token", "http://10.1.2.3/token", "http://[fd00::1]/token"] {
            assert!(allowed(listed, HostFrom::Operator), "{listed}");
            assert!(!allowed(listed, HostFrom::Captured), "{listed}");
        }
        for other in ["http://keycloak.evil.com/token", "http://xkeycloak/token", "http://10.1.2.4/token"] {
            assert!(!allowed(other, HostFrom::Operator), "{other}");
        }
        assert!(!allowed("http://keycloak/token", HostFrom::File), "the file must list it too");
    }

    #[test]
    fn a_star_must_stand_left_of_a_registrable_name() {
        for bad in [
            "*.com",
            "*.co.uk",
            "*.com.au",
            "*.x.kawasaki.jp",
            "accounts.zoho.*",
            "*",
            "a.*.com",
            "*.localhost",
            "*.127.0.0.1",
        ] {
            assert!(HostPattern::parse(bad).is_err(), "{bad}");
        }
        for bad in ["https://a.com", "a.com/x", "A.com", "a..com", "${domain}", "10.0.0.1", "com", ""] {
            assert!(HostPattern::parse(bad).is_err(), "{bad}");
        }
        for good in ["*.amocrm.ru", "*.my.salesforce.com", "*.myshopify.com", "127.0.0.1", "slack.com"] {
            assert!(HostPattern::parse(good).is_ok(), "{good}");
        }
    }
}
