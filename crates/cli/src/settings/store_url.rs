//! `store.url`: which store, and where.

use std::path::{Path, PathBuf};

/// The path of the database that `url` names.
///
/// # Errors
/// Another scheme, or no path. The message shows the scheme alone: URLs of stores may hold passwords.
pub(crate) fn sqlite_path(url: &str) -> Result<PathBuf, String> {
    let (scheme, rest) = url.split_once(':').unwrap_or(("", url));
    if scheme != "sqlite" {
        let found = match scheme {
            "" => "it has none".to_owned(),
            scheme => format!("`{}` is not one", scheme.chars().take(20).collect::<String>()),
        };
        return Err(format!("the scheme of a store must be `sqlite`, and {found}; write sqlite:PATH"));
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_with_or_without_slashes() {
        assert_eq!(sqlite_path("sqlite:jeton.sqlite").unwrap(), Path::new("jeton.sqlite"));
        assert_eq!(sqlite_path("sqlite:/var/lib/j.sqlite").unwrap(), Path::new("/var/lib/j.sqlite"));
        assert_eq!(sqlite_path("sqlite:///var/lib/j.sqlite").unwrap(), Path::new("/var/lib/j.sqlite"));
    }

    #[test]
    fn another_scheme_is_refused_and_its_password_is_not_shown() {
        let error = sqlite_path("mysql://root:hunter2@db/jeton").unwrap_err();
        assert!(error.contains("`mysql` is not one; write sqlite:PATH"), "{error}");
        assert!(!error.contains("hunter2"));
        for wrong in ["jeton.sqlite", "sqlite:", "sqlite://host/x", "sqlite::memory:"] {
            let refused = sqlite_path(wrong).unwrap_err();
            assert!(refused.contains("write sqlite:PATH"), "{wrong}: {refused}");
        }
    }
}
