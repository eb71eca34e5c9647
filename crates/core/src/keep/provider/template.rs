//! Text with holes: `${domain}`, `${nid?}`, `${client.id}`.

use std::collections::BTreeSet;
use std::fmt;

use zeroize::Zeroizing;

use super::fault::Flaw;
use crate::secret::Secret;
use crate::suggest;

/// What a hole stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Name {
    Var(String),
    ClientId,
    ClientSecret,
    RedirectUri,
    Access,
    Refresh,
    Code,
    State,
    CodeChallenge,
    CodeVerifier,
}

/// Every name that is not a variable's.
pub(super) const BUILT_IN: [(&str, Name); 9] = [
    ("client.id", Name::ClientId),
    ("client.secret", Name::ClientSecret),
    ("client.redirect_uri", Name::RedirectUri),
    ("access", Name::Access),
    ("refresh", Name::Refresh),
    ("code", Name::Code),
    ("state", Name::State),
    ("code_challenge", Name::CodeChallenge),
    ("code_verifier", Name::CodeVerifier),
];

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Var(name) => f.write_str(name),
            other => {
                let found = BUILT_IN.iter().find(|(_, name)| name == other);
                f.write_str(found.map_or("", |(text, _)| *text))
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TemplatePart {
    Text(String),
    Hole { name: Name, optional: bool },
}

/// A text with holes, parsed when its file was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    pub(super) parts: Vec<TemplatePart>,
}

/// A hole whose value nobody has given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unfilled(pub(super) Name);

/// The names a template may use where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct AllowedNames<'a> {
    pub(super) vars: &'a BTreeSet<String>,
    pub(super) built_in: &'a [Name],
}

impl AllowedNames<'_> {
    fn find(&self, text: &str) -> Result<Name, Flaw> {
        if self.vars.contains(text) {
            return Ok(Name::Var(text.to_owned()));
        }
        if let Some((_, name)) = BUILT_IN.iter().find(|(name, _)| *name == text) {
            return if self.built_in.contains(name) {
                Ok(name.clone())
            } else {
                Err(Flaw::new(format!("`${{{text}}}` has no value here")))
            };
        }
        let allowed = BUILT_IN.iter().filter(|(_, name)| self.built_in.contains(name)).map(|(text, _)| *text);
        let names: Vec<_> = self.vars.iter().map(String::as_str).chain(allowed).collect();
        let cure = suggest::hint(text, names);
        Err(Flaw::new(format!(
            "`${{{text}}}` is neither a variable of this file nor a built-in name; {cure}"
        )))
    }
}

impl Template {
    /// Parses `${name}` and `${name?}`; `$$` stands for one `$`, and a lone `$` for itself.
    pub(super) fn parse(text: &str, known: AllowedNames<'_>) -> Result<Self, Flaw> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(dollar) = rest.find('$') {
            plain.push_str(&rest[..dollar]);
            rest = &rest[dollar + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                plain.push('$');
                rest = after;
            } else if let Some(after) = rest.strip_prefix('{') {
                let end = after
                    .find('}')
                    .ok_or_else(|| Flaw::new("`${` is never closed with `}`; write `$$` for a plain `$`"))?;
                let (written, optional) =
                    after[..end].strip_suffix('?').map_or((&after[..end], false), |name| (name, true));
                if !plain.is_empty() {
                    parts.push(TemplatePart::Text(std::mem::take(&mut plain)));
                }
                parts.push(TemplatePart::Hole { name: known.find(written)?, optional });
                rest = &after[end + 1..];
            } else {
                plain.push('$');
            }
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(TemplatePart::Text(plain));
        }
        Ok(Self { parts })
    }

    /// The names of all holes.
    pub(super) fn names(&self) -> impl Iterator<Item = &Name> {
        self.holes().map(|(name, _)| name)
    }

    /// The names of all holes, and whether each is optional.
    pub(super) fn holes(&self) -> impl Iterator<Item = (&Name, bool)> {
        self.parts.iter().filter_map(|part| match part {
            TemplatePart::Hole { name, optional } => Some((name, *optional)),
            TemplatePart::Text(_) => None,
        })
    }

    /// The hole that is all of it.
    pub(super) fn only_hole(&self) -> Option<&Name> {
        match self.parts.as_slice() {
            [TemplatePart::Hole { name, .. }] => Some(name),
            _ => None,
        }
    }

    /// Fills the holes: `None` when an optional one has no value, which leaves the whole field out.
    pub(super) fn fill<'v>(
        &self,
        value: impl Fn(&Name) -> Option<&'v str>,
    ) -> Result<Option<Secret>, Unfilled> {
        let mut text = Zeroizing::new(String::new());
        for part in &self.parts {
            match part {
                TemplatePart::Text(plain) => text.push_str(plain),
                TemplatePart::Hole { name, optional } => match value(name) {
                    Some(filled) => text.push_str(filled),
                    None if *optional => return Ok(None),
                    None => return Err(Unfilled(name.clone())),
                },
            }
        }
        Ok(Some(Secret::new(text.as_str())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Template, Flaw> {
        let vars = BTreeSet::from(["domain".to_owned(), "nid".to_owned()]);
        Template::parse(text, AllowedNames { vars: &vars, built_in: &[Name::ClientId, Name::Refresh] })
    }

    fn fill(text: &str) -> Result<Option<String>, Unfilled> {
        let template = parse(text).unwrap();
        template
            .fill(|name| match name {
                Name::Var(var) if var == "domain" => Some("acme.example"),
                Name::ClientId => Some("${refresh}"),
                _ => None,
            })
            .map(|text| text.map(|text| text.reveal().to_owned()))
    }

    #[test]
    fn holes_are_filled_once_and_their_values_are_not_read_again() {
        assert_eq!(fill("https://${domain}/x").unwrap().unwrap(), "https://acme.example/x");
        assert_eq!(fill("${client.id}").unwrap().unwrap(), "${refresh}");
        assert_eq!(fill("a$b$$c$").unwrap().unwrap(), "a$b$c$");
    }

    #[test]
    fn an_optional_hole_without_a_value_leaves_the_field_out_and_another_is_named() {
        assert_eq!(fill("x-${nid?}").unwrap(), None);
        assert_eq!(fill("x-${nid}").unwrap_err(), Unfilled(Name::Var("nid".into())));
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_nearest_right_one() {
        let flaw = parse("https://${domian}/").unwrap_err();
        assert!(flaw.problem.ends_with("did you mean `domain`?"), "{}", flaw.problem);
        assert!(parse("${code}").unwrap_err().problem.contains("has no value here"));
        assert!(parse("${domain").unwrap_err().problem.contains("never closed"));
    }
}
