//! Paths of the gateway that stand for calls to the API of a connection.

use serde::Deserialize;

use super::alias_body::{self, BodyError, BodyValues, FieldRules};
use super::fault::{Flaw, Under};
use super::http_types::Method;

/// A path of the gateway that stands for a call to an API, as it is written in a provider file or in the settings.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alias {
    path: String,
    #[serde(default = "get")]
    method: Method,
    upstream: String,
    #[serde(default)]
    envelope: bool,
    message: Option<String>,
    failure: Option<AliasFailure>,
    body: Option<String>,
    #[serde(default)]
    fields: FieldRules,
    #[serde(default)]
    any_origin: bool,
}

/// How an alias with an envelope says that the API refused a call.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AliasFailure {
    /// The status.
    pub status: u16,
    /// The text of `error`.
    pub error: String,
    /// The member of `details` with the answer of the API.
    pub answer: String,
    /// The member of `details` with its status.
    pub code: String,
}

fn get() -> Method {
    Method::Get
}

/// What is wrong with an alias.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct AliasFault {
    /// The key.
    pub key: &'static str,
    /// What is wrong and what would be right.
    pub problem: String,
}

/// A segment of a path: itself, or a name that stands for whatever is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Segment<'p> {
    Same(&'p str),
    Any(&'p str),
}

impl Alias {
    /// The path at the gateway; `{name}` stands for one segment.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The method, at the gateway and at the API.
    pub fn method(&self) -> Method {
        self.method
    }

    /// What `message` says where answers are wrapped in an envelope; `None` where they are not.
    pub fn envelope(&self) -> Option<&str> {
        self.message.as_deref().filter(|_| self.envelope)
    }

    /// How failures of the API are told, if not with its own status.
    pub fn failure(&self) -> Option<&AliasFailure> {
        self.failure.as_ref()
    }

    /// Whether the body of the call is made from that of the request.
    pub fn has_body_template(&self) -> bool {
        self.body.is_some()
    }

    /// The body of the call that a request with `body` stands for; the same where the alias has no template.
    ///
    /// # Errors
    /// The body is not JSON, breaks a rule, or does not fit the template.
    pub fn make_body(&self, body: &[u8], values: &BodyValues) -> Result<Vec<u8>, BodyError> {
        match &self.body {
            Some(template) => alias_body::make(template, &self.fields, body, values),
            None => Ok(body.to_vec()),
        }
    }

    /// Whether pages of every origin may call it from a browser.
    pub fn allows_every_origin(&self) -> bool {
        self.any_origin
    }

    /// Whether the two answer the same requests.
    pub fn collides_with(&self, other: &Self) -> bool {
        let shape = |alias: &Self| {
            let segments = segments(&alias.path).map(|segment| match segment {
                Segment::Same(text) => Some(text.to_owned()),
                Segment::Any(_) => None,
            });
            segments.collect::<Vec<_>>()
        };
        shape(self) == shape(other)
    }

    /// The path below the API's base that `path` stands for, its segments as they were sent; `None` where this alias does
    /// not answer `path`.
    pub fn resolve(&self, path: &str) -> Option<String> {
        let mut taken = Vec::new();
        let mut given = path.strip_prefix('/')?.split('/');
        for segment in segments(&self.path) {
            match (segment, given.next()?) {
                (Segment::Same(text), found) if text == found => {}
                (Segment::Any(name), found) if !found.is_empty() => taken.push((name, found)),
                _ => return None,
            }
        }
        if given.next().is_some() {
            return None;
        }
        let found = |name| taken.iter().find(|(known, _)| *known == name).map(|(_, found)| *found);
        segments(&self.upstream).try_fold(String::new(), |mut upstream, segment| {
            upstream.push('/');
            upstream.push_str(match segment {
                Segment::Same(text) => text,
                Segment::Any(name) => found(name)?,
            });
            Some(upstream)
        })
    }

    /// Whether it says something that can be done.
    ///
    /// # Errors
    /// The first key that does not.
    pub fn check(&self) -> Result<(), AliasFault> {
        let fault = |key, problem: &str| AliasFault { key, problem: problem.to_owned() };
        check_path(&self.path).map_err(|problem| fault("path", problem))?;
        check_path(&self.upstream).map_err(|problem| fault("upstream", problem))?;
        let names = names(&self.path);
        if (1..names.len()).any(|index| names[index..].contains(&names[index - 1])) {
            return Err(fault("path", "names two segments alike: give each `{name}` once"));
        }
        if matches!(segments(&self.path).next(), Some(Segment::Any(_))) {
            return Err(fault(
                "path",
                "begins with a `{name}` and would answer everything: begin with a word such as `/api`",
            ));
        }
        let unknown = |name: &&str| !names.contains(name);
        if let Some(name) = self::names(&self.upstream).into_iter().find(unknown) {
            let problem =
                format!("`{{{name}}}` is not in `path`: write it there, or the segment itself here");
            return Err(AliasFault { key: "upstream", problem });
        }
        match &self.body {
            Some(body) => {
                alias_body::check(body, &self.fields)
                    .map_err(|(key, problem)| AliasFault { key, problem })?;
            }
            None if !self.fields.is_empty() => {
                return Err(fault("fields", "are for a body template: add `body`, or leave them out"));
            }
            None => {}
        }
        if self.body.is_some() && self.method == Method::Get {
            return Err(fault("body", "does not go with GET: add `method = \"POST\"`, or leave it out"));
        }
        if let Some(failure) = &self.failure {
            if !self.envelope {
                return Err(fault("failure", "is for envelopes: add `envelope = true`, or leave it out"));
            }
            if !(400..600).contains(&failure.status) {
                return Err(fault("failure", "must have a `status` from 400 to 599"));
            }
        }
        match (self.envelope, &self.message) {
            (true, None) => Err(fault("message", "is missing: say what `message` of the envelope is")),
            (false, Some(_)) => {
                Err(fault("message", "is for envelopes: add `envelope = true`, or leave it out"))
            }
            _ => Ok(()),
        }
    }
}

fn segments(path: &str) -> impl Iterator<Item = Segment<'_>> {
    path.strip_prefix('/').unwrap_or(path).split('/').map(|segment| {
        let name = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        name.map_or(Segment::Same(segment), Segment::Any)
    })
}

fn names(path: &str) -> Vec<&str> {
    let name = |segment| if let Segment::Any(name) = segment { Some(name) } else { None };
    segments(path).filter_map(name).collect()
}

fn check_path(path: &str) -> Result<(), &'static str> {
    if !path.starts_with('/') {
        return Err("must begin with `/`");
    }
    let unreserved = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b));
    let right = |segment| match segment {
        Segment::Same(text) => !text.is_empty() && !matches!(text, "." | "..") && unreserved(text),
        Segment::Any(name) => {
            !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        }
    };
    if segments(path).all(right) {
        Ok(())
    } else {
        Err(
            "a path is segments of A-Z, a-z, 0-9, `-`, `.`, `_` and `~`, or `{name}`, and ends without `/` and query",
        )
    }
}

/// Checks the aliases of a file, alone and against each other.
pub(super) fn check_all(aliases: Vec<Alias>) -> Result<Vec<Alias>, Flaw> {
    for (index, alias) in aliases.iter().enumerate() {
        alias.check().map_err(|fault| Flaw::new(fault.problem).under(fault.key)).under(index)?;
        if aliases[..index].iter().any(|earlier| earlier.collides_with(alias)) {
            let flaw = Flaw::new("stands for another call already: give each alias a path of its own");
            return Err(flaw.under("path").under(index));
        }
    }
    Ok(aliases)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn alias(text: &str) -> Alias {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn segments_of_the_path_go_where_the_upstream_names_them() {
        let one = alias("path = '/api/v1/info/pipelines/{id}'\nupstream = '/api/v4/leads/pipelines/{id}'");
        one.check().unwrap();
        assert_eq!(one.resolve("/api/v1/info/pipelines/7").as_deref(), Some("/api/v4/leads/pipelines/7"));
        assert_eq!(
            one.resolve("/api/v1/info/pipelines/a%20b").as_deref(),
            Some("/api/v4/leads/pipelines/a%20b")
        );
        for other in
            ["/api/v1/info/pipelines", "/api/v1/info/pipelines/", "/api/v1/info/pipelines/7/x", "/x", ""]
        {
            assert_eq!(one.resolve(other), None, "{other}");
        }
        assert!(one.collides_with(&alias("path = '/api/v1/info/pipelines/{other}'\nupstream = '/x'")));
        assert!(!one.collides_with(&alias("path = '/api/v1/info/pipelines/all'\nupstream = '/x'")));
    }

    #[test]
    fn what_could_not_be_answered_is_refused_with_the_key() {
        for (text, key) in [
            ("path = 'x'\nupstream = '/y'", "path"),
            ("path = '/x/'\nupstream = '/y'", "path"),
            ("path = '/x//y'\nupstream = '/y'", "path"),
            ("path = '/{any}'\nupstream = '/y'", "path"),
            ("path = '/x/{a}/{a}'\nupstream = '/y'", "path"),
            ("path = '/x'\nupstream = '/../y'", "upstream"),
            ("path = '/x'\nupstream = '/y?z=1'", "upstream"),
            ("path = '/x'\nupstream = 'https://evil.example/'", "upstream"),
            ("path = '/x'\nupstream = '/{id}'", "upstream"),
            ("path = '/x'\nupstream = '/y'\nenvelope = true", "message"),
            ("path = '/x'\nupstream = '/y'\nmessage = 'm'", "message"),
            ("path = '/x'\nupstream = '/y'\nbody = '1'", "body"),
            ("path = '/x'\nupstream = '/y'\nmethod = 'POST'\nbody = '{{'", "body"),
            ("path = '/x'\nupstream = '/y'\nfields = { a = { required = true } }", "fields"),
            (
                "path = '/x'\nupstream = '/y'\nfailure = { status = 500, error = 'e', answer = 'a', code = 'c' }",
                "failure",
            ),
        ] {
            assert_eq!(alias(text).check().unwrap_err().key, key, "{text}");
        }
        assert!(toml::from_str::<Alias>("path = '/x'\nupstream = '/y'\nmethod = 'TRACE'").is_err());
    }

    proptest! {
        #[test]
        fn an_alias_answers_one_segment_for_each_name_and_keeps_it_as_it_was_sent(segment in "[!-.0-~]{1,20}") {
            let one = alias("path = '/a/{b}'\nupstream = '/c/{b}/d'");
            prop_assert_eq!(one.resolve(&format!("/a/{segment}")), Some(format!("/c/{segment}/d")));
        }
    }
}
