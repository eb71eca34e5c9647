//! What an endpoint requires of its caller.

use crate::id::ConnectionName;

/// What an endpoint requires of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission<'a> {
    /// Seeing the token of this connection.
    Token(&'a str),
    /// Operating this connection: refreshing it by force, pausing it, resuming it.
    Operate(&'a str),
    /// One call through the gateway.
    Proxy {
        /// On this connection.
        connection: &'a str,
        /// With this method.
        method: &'a str,
        /// At this path of the upstream, as it will be sent, without the query.
        path: &'a str,
    },
    /// Any call through the gateway on this connection, whatever its method and path.
    EveryCall(&'a str),
    /// Seeing what there is.
    Read,
    /// Opening sessions.
    Sessions,
    /// Administering.
    Admin,
}

impl<'a> Permission<'a> {
    /// Reads what is needed as text: `token:NAME`, `operate:NAME`, `proxy:NAME` for every call, `proxy:NAME:METHOD:PATH` for one, `read`,
    /// `sessions` or `admin`. Names are whole: what is needed is no pattern.
    pub fn parse(text: &'a str) -> Option<Self> {
        let whole = |name: &'a str| name.parse::<ConnectionName>().is_ok().then_some(name);
        match text.split_once(':') {
            None => match text {
                "read" => Some(Self::Read),
                "sessions" => Some(Self::Sessions),
                "admin" => Some(Self::Admin),
                _ => None,
            },
            Some(("token", name)) => whole(name).map(Self::Token),
            Some(("operate", name)) => whole(name).map(Self::Operate),
            Some(("proxy", rest)) => match rest.split_once(':') {
                None => whole(rest).map(Self::EveryCall),
                Some((name, call)) => {
                    let (method, path) = call.split_once(':')?;
                    path.starts_with('/').then_some(Self::Proxy { connection: whole(name)?, method, path })
                }
            },
            Some(_) => None,
        }
    }
}
