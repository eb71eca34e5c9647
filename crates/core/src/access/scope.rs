//! What a service token grants.
//!
//! | scope | grants |
//! |---|---|
//! | `token:NAME` | seeing the token of that connection: asking for it, reporting that it was rejected, refreshing it when it is due |
//! | `operate:NAME` | operating that connection: refreshing it, also by force, pausing it, resuming it |
//! | `proxy:NAME` | calling through the gateway on that connection |
//! | `proxy:NAME:METHODS`, `proxy:NAME:PATH`, `proxy:NAME:METHODS:PATH` | the same, with these methods and paths only |
//! | `read` | seeing what there is and how it stands |
//! | `sessions` | opening sessions for users |
//! | `admin` | disconnecting, service tokens; and `operate:*` and `read` |
//!
//! In NAME `*` is any run of characters. METHODS are separated by commas: `GET,HEAD`. PATH is the path at the upstream,
//! from its first `/`, without the query: in it `*` stays within a segment and `**` crosses segments. A scope holds no space,
//! so that several stand in one text with spaces between them.
//!
//! `token:`, `proxy:` and `operate:` grant nothing of each other: the audit log names who received a token, and the access log whose calls were made.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::glob::Glob;
use super::path::{canonical, has_escaped_slash, is_covered};
use super::permission::Permission;

/// The longest scope that is taken, in bytes.
const LONGEST: usize = 256;

/// The most scopes that one token has.
const MOST: usize = 64;

/// A text is no scope; the message says why, and what one looks like.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the scope {text:?} {why}; write token:NAME, operate:NAME, proxy:NAME, proxy:NAME:GET,HEAD:/api/**, read, sessions or admin"
)]
pub struct InvalidScope {
    text: String,
    why: &'static str,
}

/// One thing that a token grants.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Seeing the tokens of the connections whose names are covered.
    Token(Glob),
    /// Operating the connections whose names are covered.
    Operate(Glob),
    /// Calling through the gateway.
    Proxy {
        /// On these connections.
        connections: Glob,
        /// With these methods; with any where there are none.
        methods: BTreeSet<String>,
        /// At these paths; at any where it is absent.
        path: Option<Glob>,
    },
    /// Seeing what there is.
    Read,
    /// Opening sessions.
    Sessions,
    /// Administering.
    Admin,
}

impl Scope {
    /// Whether this scope alone grants what is needed.
    pub fn covers(&self, need: &Permission<'_>) -> bool {
        match (self, need) {
            (Self::Token(connections), Permission::Token(connection))
            | (Self::Operate(connections), Permission::Operate(connection)) => connections.covers(connection),
            (Self::Proxy { path, .. }, Permission::Proxy { connection, method, path: asked }) => {
                self.lets_call(connection, method)
                    && path.as_ref().is_none_or(|path| is_covered(asked, |asked| path.covers(asked)))
            }
            (Self::Proxy { connections, methods, path: None }, Permission::EveryCall(connection)) => {
                methods.is_empty() && connections.covers(connection)
            }
            (Self::Read | Self::Admin, Permission::Read)
            | (Self::Sessions, Permission::Sessions)
            | (Self::Admin, Permission::Admin | Permission::Operate(_)) => true,
            _ => false,
        }
    }

    /// Whether it lets this method through on this connection, at some path.
    fn lets_call(&self, connection: &str, method: &str) -> bool {
        matches!(self, Self::Proxy { connections, methods, .. }
            if connections.covers(connection) && (methods.is_empty() || methods.contains(method)))
    }

    /// Whether it speaks of this connection.
    fn names(&self, connection: &str) -> bool {
        match self {
            Self::Token(connections) | Self::Operate(connections) | Self::Proxy { connections, .. } => {
                connections.covers(connection)
            }
            Self::Read | Self::Admin => true,
            Self::Sessions => false,
        }
    }
}

impl FromStr for Scope {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        let invalid = |why| InvalidScope { text: text.chars().take(80).collect(), why };
        if text.len() > LONGEST {
            return Err(invalid("is longer than 256 bytes"));
        }
        match text.split_once(':') {
            None => match text {
                "read" => Ok(Self::Read),
                "sessions" => Ok(Self::Sessions),
                "admin" => Ok(Self::Admin),
                "token" | "operate" | "proxy" => Err(invalid("names no connection")),
                _ => Err(invalid("is not known")),
            },
            Some(("token", name)) => name_glob(name).map(Self::Token).map_err(invalid),
            Some(("operate", name)) => name_glob(name).map(Self::Operate).map_err(invalid),
            Some(("proxy", rest)) => proxy(rest).map_err(invalid),
            Some(_) => Err(invalid("is not known")),
        }
    }
}

fn proxy(rest: &str) -> Result<Scope, &'static str> {
    let (name, limits) = rest.split_once(':').map_or((rest, None), |(name, limits)| (name, Some(limits)));
    let connections = name_glob(name)?;
    let (methods, path) = match limits {
        None => (None, None),
        Some(path) if path.starts_with('/') => (None, Some(path)),
        Some(limits) => match limits.split_once(':') {
            None => (Some(limits), None),
            Some((methods, path)) => (Some(methods), Some(path)),
        },
    };
    let methods = methods.map(read_methods).transpose()?.unwrap_or_default();
    let path = path.map(path_glob).transpose()?;
    Ok(Scope::Proxy { connections, methods, path })
}

fn name_glob(name: &str) -> Result<Glob, &'static str> {
    let known = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"-_.*".contains(&c);
    match name {
        "" => Err("names no connection"),
        name if name.bytes().all(known) => Ok(Glob::new(name)),
        _ => Err("names a connection that cannot be: a-z, 0-9, '-', '_', '.' and '*' stand in a name"),
    }
}

fn read_methods(list: &str) -> Result<BTreeSet<String>, &'static str> {
    let method = |text: &str| {
        let fits =
            (1..=16).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_uppercase() || c == b'-');
        fits.then(|| text.to_owned()).ok_or("has a method that is not in capital letters, such as GET,HEAD")
    };
    list.split(',').map(method).collect()
}

fn path_glob(path: &str) -> Result<Glob, &'static str> {
    let why = "has a path that does not begin with '/', or that no call could have in its canonical spelling";
    canonical(path).map(|path| Glob::new(&path)).ok_or(why)
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(connections) => write!(f, "token:{}", connections.as_str()),
            Self::Operate(connections) => write!(f, "operate:{}", connections.as_str()),
            Self::Proxy { connections, methods, path } => {
                write!(f, "proxy:{}", connections.as_str())?;
                for (at, method) in methods.iter().enumerate() {
                    write!(f, "{}{method}", if at == 0 { ':' } else { ',' })?;
                }
                path.as_ref().map_or(Ok(()), |path| write!(f, ":{}", path.as_str()))
            }
            Self::Read => f.write_str("read"),
            Self::Sessions => f.write_str("sessions"),
            Self::Admin => f.write_str("admin"),
        }
    }
}

impl Serialize for Scope {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Everything that a token grants: nothing, where it is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Scopes(BTreeSet<Scope>);

impl Scopes {
    /// The API key may do all of this: everything but administering.
    pub fn all_but_admin() -> Self {
        let (any, methods) = (Glob::new("*"), BTreeSet::new());
        let proxy = Scope::Proxy { connections: any.clone(), methods, path: None };
        let (token, operate) = (Scope::Token(any.clone()), Scope::Operate(any));
        Self(BTreeSet::from([token, operate, proxy, Scope::Read, Scope::Sessions]))
    }

    /// These scopes.
    ///
    /// # Errors
    /// They are more than 64.
    pub fn new(scopes: impl IntoIterator<Item = Scope>) -> Result<Self, InvalidScope> {
        let scopes: BTreeSet<Scope> = scopes.into_iter().collect();
        match scopes.iter().nth(MOST) {
            None => Ok(Self(scopes)),
            Some(beyond) => Err(InvalidScope {
                text: beyond.to_string(),
                why: "is one more than the 64 that a token may have",
            }),
        }
    }

    /// In the order of their kinds.
    pub fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.0.iter()
    }

    /// Whether it grants nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of them grants what is needed.
    pub fn cover(&self, need: &Permission<'_>) -> bool {
        self.0.iter().any(|scope| scope.covers(need))
    }

    /// Whether one of them speaks of this connection, so that its holder may be told of it.
    pub fn name(&self, connection: &str) -> bool {
        self.0.iter().any(|scope| scope.names(connection))
    }

    /// The scope that is missing for what is needed, in words; nothing where none is. It repeats no path: a path may hold what
    /// must not be logged.
    pub fn missing(&self, need: &Permission<'_>) -> Option<String> {
        if self.cover(need) {
            return None;
        }
        Some(match need {
            Permission::Token(connection) => format!("token:{connection}"),
            Permission::Operate(connection) => format!("operate:{connection}"),
            Permission::Proxy { connection, method, path } => {
                let proxies =
                    |scope: &&Scope| matches!(scope, Scope::Proxy { .. }) && scope.names(connection);
                if !self.0.iter().any(|scope| proxies(&scope)) {
                    format!("proxy:{connection}")
                } else if self.0.iter().any(|scope| scope.lets_call(connection, method)) {
                    let readings = if has_escaped_slash(path) {
                        ", whether `%2F` in it is read as a slash or not"
                    } else {
                        ""
                    };
                    format!("proxy:{connection} with this path{readings}")
                } else {
                    format!("proxy:{connection}:{method}")
                }
            }
            Permission::EveryCall(connection) => format!("proxy:{connection}"),
            Permission::Read => "read".to_owned(),
            Permission::Sessions => "sessions".to_owned(),
            Permission::Admin => "admin".to_owned(),
        })
    }
}

impl FromStr for Scopes {
    type Err = InvalidScope;

    /// Reads scopes with spaces between them.
    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        let scopes: BTreeSet<Scope> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        Self::new(scopes)
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(at, scope)| {
            let space = if at == 0 { "" } else { " " };
            write!(f, "{space}{scope}")
        })
    }
}

impl<'de> Deserialize<'de> for Scopes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(Vec::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
#[path = "scope_tests.rs"]
mod tests;
