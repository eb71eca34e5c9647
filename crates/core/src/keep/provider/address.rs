//! URLs with holes, filled so that no value can move a secret to another host or another path.

use std::fmt::Write;

use url::Url;
use zeroize::Zeroizing;

use super::fault::Flaw;
use super::hosts::{self, AllowedHosts, HostFrom};
use super::http_types::Endpoint;
use super::template::{AllowedNames, Name, Template, TemplatePart};

/// Who gave a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ValueSource {
    /// The `default` of the provider file.
    File,
    /// The connection's settings.
    Operator,
    /// A callback or a reply.
    Captured,
}

/// A value and who gave it.
#[derive(Clone, Copy, Debug)]
pub(super) struct SourcedValue<'v> {
    pub(super) text: &'v str,
    pub(super) source: ValueSource,
}

/// Where in a URL a hole stands, which decides what its value may be and how it is escaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HolePosition {
    /// At the very beginning: a whole URL, which the template may go on below.
    Base,
    /// The whole host.
    Host,
    /// A part of the host.
    HostPart,
    Path,
    Query,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum UrlPiece {
    Text(String),
    Hole { name: Name, optional: bool, place: HolePosition },
}

/// A URL with holes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UrlTemplate {
    pieces: Vec<UrlPiece>,
}

/// Why a URL could not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum UrlFault {
    Unfilled(Name),
    /// The value of that variable, or the URL as a whole, is not usable.
    Bad(Option<Name>, String),
}

impl UrlTemplate {
    /// Parses a template whose holes must not be secret: what is secret goes into query, headers or body, because
    /// paths and hosts are written to logs.
    pub(super) fn parse(text: &str, known: AllowedNames<'_>) -> Result<Self, Flaw> {
        let parts = Template::parse(text, known)?.parts;
        if text.contains('#') {
            return Err(Flaw::new("a URL that is requested has no `#` part"));
        }
        let mut pieces = Vec::with_capacity(parts.len());
        let mut before = String::new();
        for (index, part) in parts.iter().enumerate() {
            match part {
                TemplatePart::Text(plain) => {
                    before.push_str(plain);
                    pieces.push(UrlPiece::Text(plain.clone()));
                }
                TemplatePart::Hole { name, optional } => {
                    let next = parts.get(index + 1);
                    let place = place_of(&before, index == 0, next)?;
                    // Stands for the value, so that the next hole sees where it is.
                    before.push_str(if place == HolePosition::Base { "https://base/" } else { "x" });
                    pieces.push(UrlPiece::Hole { name: name.clone(), optional: *optional, place });
                }
            }
        }
        let starts_whole = matches!(pieces.first(), Some(UrlPiece::Hole { place: HolePosition::Base, .. }));
        if !starts_whole && !before.starts_with("https://") && !before.starts_with("http://") {
            return Err(Flaw::new("a URL begins with `https://` or with a variable that holds a whole URL"));
        }
        if authority(&before).contains('@') {
            return Err(Flaw::new("a URL must not carry a user name or password"));
        }
        Ok(Self { pieces })
    }

    /// The names of all holes.
    pub(super) fn names(&self) -> impl Iterator<Item = (&Name, bool)> {
        self.pieces.iter().filter_map(|piece| match piece {
            UrlPiece::Hole { name, optional, .. } => Some((name, *optional)),
            UrlPiece::Text(_) => None,
        })
    }

    /// The holes that decide the host.
    pub(super) fn host_names(&self) -> impl Iterator<Item = &Name> {
        self.pieces.iter().filter_map(|piece| match piece {
            UrlPiece::Hole {
                name,
                place: HolePosition::Base | HolePosition::Host | HolePosition::HostPart,
                ..
            } => Some(name),
            _ => None,
        })
    }

    /// Fills the holes and checks the result: `None` when an optional hole has no value.
    pub(super) fn fill<'v>(
        &self,
        value: impl Fn(&Name) -> Option<SourcedValue<'v>>,
        allowed: AllowedHosts<'_>,
    ) -> Result<Option<Endpoint>, UrlFault> {
        let mut text = Zeroizing::new(String::new());
        let mut from = HostFrom::File;
        let mut decided_by = None;
        for (index, piece) in self.pieces.iter().enumerate() {
            let (name, optional, place) = match piece {
                UrlPiece::Text(plain) => {
                    text.push_str(plain);
                    continue;
                }
                UrlPiece::Hole { name, optional, place } => (name, *optional, *place),
            };
            let Some(given) = value(name) else {
                return if optional { Ok(None) } else { Err(UrlFault::Unfilled(name.clone())) };
            };
            let last = index + 1 == self.pieces.len();
            append(&mut text, given, place, last)
                .map_err(|problem| UrlFault::Bad(Some(name.clone()), problem))?;
            if matches!(place, HolePosition::Base | HolePosition::Host | HolePosition::HostPart) {
                from = stronger(from, given.source, place);
                decided_by = Some(name.clone());
            }
        }
        let url =
            Url::parse(&text).map_err(|e| UrlFault::Bad(decided_by.clone(), format!("not a URL: {e}")))?;
        hosts::check(&url, from, allowed).map_err(|problem| UrlFault::Bad(decided_by, problem))?;
        Ok(Some(Endpoint { url, captured_host: from == HostFrom::Captured, certificate: None }))
    }
}

fn authority(text: &str) -> &str {
    let after = text.split_once("://").map_or("", |(_, after)| after);
    after.split(['/', '?']).next().unwrap_or_default()
}

fn place_of(before: &str, first: bool, next: Option<&TemplatePart>) -> Result<HolePosition, Flaw> {
    let next_char = match next {
        Some(TemplatePart::Text(text)) => text.chars().next(),
        Some(TemplatePart::Hole { .. }) => Some('$'),
        None => None,
    };
    if first {
        return match next_char {
            None | Some('/') => Ok(HolePosition::Base),
            Some(_) => Err(Flaw::new("a variable that holds a whole URL is followed by `/` or by nothing")),
        };
    }
    let Some((_, after)) = before.split_once("://") else {
        return Err(Flaw::new("a URL begins with `https://` or with a variable that holds a whole URL"));
    };
    if after.contains('?') {
        return Ok(HolePosition::Query);
    }
    if after.contains('/') {
        return Ok(HolePosition::Path);
    }
    let whole = after.is_empty() && matches!(next_char, None | Some('/' | '?'));
    Ok(if whole { HolePosition::Host } else { HolePosition::HostPart })
}

/// What is said of the host after one more of its parts: anything from outside makes it captured, and only an
/// operator who wrote all of it answers for it.
fn stronger(from: HostFrom, source: ValueSource, place: HolePosition) -> HostFrom {
    match (source, place) {
        _ if from == HostFrom::Captured => HostFrom::Captured,
        (ValueSource::Captured, _) => HostFrom::Captured,
        (ValueSource::Operator, HolePosition::Base | HolePosition::Host) => HostFrom::Operator,
        _ => from,
    }
}

fn append(text: &mut String, given: SourcedValue<'_>, place: HolePosition, last: bool) -> Result<(), String> {
    match place {
        HolePosition::Base => text.push_str(&base_url(given.text, last)?),
        HolePosition::Host | HolePosition::HostPart => {
            let (host, port) = match given.text.split_once(':') {
                Some((host, port))
                    if place == HolePosition::Host && given.source == ValueSource::Operator =>
                {
                    (host, Some(port))
                }
                _ => (given.text, None),
            };
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
            let digits = |port: &str| !port.is_empty() && port.chars().all(|c| c.is_ascii_digit());
            if host.is_empty() || !host.chars().all(plain) || !port.is_none_or(digits) {
                return Err("not a host name: write it without scheme, path or user name".to_owned());
            }
            text.push_str(given.text);
        }
        HolePosition::Path if given.text.chars().all(|c| c == '.') => {
            return Err("empty or made of dots alone, which would change the path of the URL".to_owned());
        }
        HolePosition::Path | HolePosition::Query => percent_encode(given.text, text),
    }
    Ok(())
}

fn base_url(given: &str, last: bool) -> Result<String, String> {
    let shape = "not a whole URL: write it with scheme and host, such as https://api.example.com";
    let url = Url::parse(given).map_err(|_| shape.to_owned())?;
    if !url.has_host() {
        return Err(shape.to_owned());
    }
    if url.fragment().is_some() || (!last && url.query().is_some()) {
        return Err("must end with its path: leave `?` and `#` parts out".to_owned());
    }
    if given.contains('\\') || given.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("must not hold spaces or backslashes".to_owned());
    }
    let text = url.as_str();
    // The template goes on with `/`; a base with no path of its own would double it.
    Ok(if last { text } else { text.trim_end_matches('/') }.to_owned())
}

/// Escapes everything but the unreserved characters of RFC 3986, section 2.3.
fn percent_encode(value: &str, text: &mut String) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            text.push(char::from(byte));
        } else {
            write!(text, "%{byte:02X}").expect("writing to a String cannot fail");
        }
    }
}

#[cfg(test)]
#[path = "address_tests.rs"]
mod tests;
