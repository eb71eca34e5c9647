//! `store.url`: which store, and where.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use jeton_core::secret::Secret;

/// What stands in place of a password.
const HIDDEN: &str = "[hidden]";

/// A store that is named.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum StoreLocation {
    /// A file of SQLite.
    Sqlite(PathBuf),
    /// The URL of a database of PostgreSQL.
    Postgres(Secret),
}

/// The store that `url` names.
///
/// # Errors
/// Another scheme, no path, no host or no name. The message shows the scheme alone: URLs of stores may hold passwords.
pub(super) fn read(url: &str) -> Result<StoreLocation, String> {
    let (scheme, rest) = url.split_once(':').unwrap_or(("", url));
    match scheme {
        "sqlite" => sqlite_path(rest).map(StoreLocation::Sqlite),
        "postgres" | "postgresql" => postgres(rest).map(|()| StoreLocation::Postgres(Secret::new(url))),
        other => {
            let found = match other {
                "" => "it has none".to_owned(),
                other => format!("`{}` is not one", other.chars().take(20).collect::<String>()),
            };
            Err(format!(
                "the scheme of a store must be `sqlite` or `postgres`, and {found}; write sqlite:PATH or \
                 postgres://USER@HOST/DATABASE"
            ))
        }
    }
}

fn sqlite_path(rest: &str) -> Result<PathBuf, String> {
    // `sqlite:PATH` and `sqlite:///PATH` name the same file; a host there would be a machine that SQLite cannot reach.
    let path = match rest.strip_prefix("//") {
        Some(path) if !path.starts_with('/') => {
            return Err(
                "two slashes begin the name of a host; write sqlite:PATH or sqlite:///PATH".to_owned()
            );
        }
        Some(path) => path,
        None => rest,
    };
    match path {
        "" => Err("names no file; write sqlite:PATH".to_owned()),
        ":memory:" => {
            Err("a store in memory would lose every token; write sqlite:PATH with the path of a file"
                .to_owned())
        }
        path => Ok(Path::new(path).to_owned()),
    }
}

/// Whether what follows the scheme names a host and a database; all else is for the store itself to judge.
fn postgres(rest: &str) -> Result<(), String> {
    let cure =
        "write postgres://USER@HOST:PORT/DATABASE, or postgres://USER@/DATABASE?host=FOLDER for a socket";
    let Some(rest) = rest.strip_prefix("//") else {
        return Err(format!("two slashes must follow the scheme; {cure}"));
    };
    // The last `@`, because a password may hold one that was not escaped.
    let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
    let (place, query) = place.split_once('?').unwrap_or((place, ""));
    let (host, name) = place.split_once('/').unwrap_or((place, ""));
    if name.is_empty() {
        return Err(format!("names no database; {cure}"));
    }
    if host.is_empty() && !query.split('&').any(|pair| pair.starts_with("host=")) {
        return Err(format!("names no host; {cure}"));
    }
    Ok(())
}

/// Where the password of a URL begins and ends.
fn password(url: &str) -> Option<std::ops::Range<usize>> {
    let begins = url.find("://")? + 3;
    let ends = url.rfind('@').filter(|end| *end >= begins)?;
    let colon = begins + url[begins..ends].find(':')?;
    Some(colon + 1..ends)
}

/// Whether the URL holds a password.
pub(super) fn holds_password(url: &str) -> bool {
    password(url).is_some_and(|range| !range.is_empty())
}

/// The URL as it may be shown.
pub(super) fn redacted(url: &str) -> String {
    match password(url) {
        Some(range) if !range.is_empty() => format!("{}{HIDDEN}{}", &url[..range.start], &url[range.end..]),
        _ => url.to_owned(),
    }
}

/// The same URL with this password.
///
/// # Errors
/// It has one already, or names no user.
pub(super) fn with_password(url: &Secret, secret: &Secret) -> Result<Secret, &'static str> {
    let url = url.reveal();
    if holds_password(url) {
        return Err("and the password in `store.url` are both set; keep one of them");
    }
    let place = url.rfind('@').filter(|_| url.contains("://"));
    let Some(place) = place else {
        return Err(
            "is the password of nobody: `store.url` names no user; write postgres://USER@HOST/DATABASE",
        );
    };
    let user = url[..place].trim_end_matches(':');
    Ok(Secret::new(format!("{user}:{}{}", escaped(secret.reveal()), &url[place..])))
}

/// As RFC 3986, section 2.1, has it.
fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        if byte.is_ascii_alphanumeric() {
            escaped.push(char::from(byte));
        } else {
            write!(escaped, "%{byte:02X}").expect("a String takes everything");
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(url: &str) -> PathBuf {
        match read(url) {
            Ok(StoreLocation::Sqlite(path)) => path,
            other => panic!("{url}: {other:?}"),
        }
    }

    #[test]
    fn a_path_is_read_with_or_without_slashes() {
        assert_eq!(path("sqlite:jeton.sqlite"), Path::new("jeton.sqlite"));
        assert_eq!(path("sqlite:/var/lib/j.sqlite"), Path::new("/var/lib/j.sqlite"));
        assert_eq!(path("sqlite:///var/lib/j.sqlite"), Path::new("/var/lib/j.sqlite"));
    }

    #[test]
    fn another_scheme_is_refused_and_its_password_is_not_shown() {
        let error = read("mysql://root:hunter2@db/jeton").unwrap_err();
        assert!(error.contains("`mysql` is not one; write sqlite:PATH or postgres://"), "{error}");
        assert!(!error.contains("hunter2"));
        for (wrong, why) in [
            ("jeton.sqlite", "it has none"),
            ("sqlite:", "names no file"),
            ("sqlite://host/x", "begin the name of a host"),
            ("sqlite::memory:", "would lose every token"),
        ] {
            let refused = read(wrong).unwrap_err();
            assert!(refused.contains(why) && refused.contains("write sqlite:PATH"), "{wrong}: {refused}");
        }
    }

    #[test]
    fn a_database_needs_a_host_and_a_name() {
        for right in [
            "postgres://jeton:pw@db.example.com:5432/jeton?sslmode=verify-full",
            "postgresql://db/jeton",
            "postgres://jeton@/jeton?host=/run/postgresql",
            "postgres://jeton@%2Frun%2Fpostgresql/jeton",
            "postgres://jeton:pw@db-1:5432,db-2:5432/jeton",
            "postgres://jeton:pw@db-1,db-2/jeton?port=6432",
            "postgres://jeton@/jeton?application_name=j&host=db-1,db-2&hostaddr=192.0.2.1,192.0.2.2",
        ] {
            assert_eq!(read(right), Ok(StoreLocation::Postgres(Secret::new(right))), "{right}");
        }
        for (wrong, why) in [
            ("postgres:jeton", "two slashes"),
            ("postgres://jeton:hunter2@db", "names no database"),
            ("postgres://jeton:hunter2@db/", "names no database"),
            ("postgres://jeton:hunter2@/jeton", "names no host"),
            ("postgres://jeton:hunter2@db-1:5432,db-2:5432", "names no database"),
            ("postgres://jeton:hunter2@db-1,db-2/?port=5432", "names no database"),
            ("postgres://jeton:hunter2@/jeton?hostaddr=192.0.2.1,192.0.2.2", "names no host"),
        ] {
            let refused = read(wrong).unwrap_err();
            assert!(refused.contains(why) && refused.contains("write postgres://USER@HOST"), "{refused}");
            assert!(!refused.contains("hunter2"), "{refused}");
        }
    }

    #[test]
    fn a_url_is_shown_without_its_password_however_it_is_written() {
        for (url, expected) in [
            ("postgres://jeton:hush@db/jeton", "postgres://jeton:[hidden]@db/jeton"),
            ("postgres://jeton:hu/s?h@x@db/jeton", "postgres://jeton:[hidden]@db/jeton"),
            (
                "postgres://jeton:hush@db-1:5432,db-2:5432/jeton",
                "postgres://jeton:[hidden]@db-1:5432,db-2:5432/jeton",
            ),
            ("postgres://jeton@db:5432/jeton", "postgres://jeton@db:5432/jeton"),
            ("postgres://jeton@db-1:5432,db-2:5432/jeton", "postgres://jeton@db-1:5432,db-2:5432/jeton"),
            ("postgres://db:5432/jeton", "postgres://db:5432/jeton"),
            ("sqlite:a@b:c", "sqlite:a@b:c"),
        ] {
            assert_eq!(redacted(url), expected);
        }
    }

    #[test]
    fn a_password_from_elsewhere_takes_its_place_in_the_url() {
        let with = |url: &str| with_password(&Secret::new(url), &Secret::new("p@ss/w:rd"));
        let whole = with("postgres://jeton@db/jeton").unwrap();
        assert_eq!(whole.reveal(), "postgres://jeton:p%40ss%2Fw%3Ard@db/jeton");
        let several = with("postgres://jeton@db-1:5432,db-2:5432/jeton").unwrap();
        assert_eq!(several.reveal(), "postgres://jeton:p%40ss%2Fw%3Ard@db-1:5432,db-2:5432/jeton");
        assert!(with("postgres://jeton:one@db/jeton").unwrap_err().contains("both set"));
        assert!(with("postgres://db/jeton").unwrap_err().contains("names no user"));
    }
}
