//! The files with first tokens that the settings name. Each is imported once, and then taken out of use: a refresh token that
//! was spent since must not be sent again because the store was lost.
//!
//! The file is renamed; where it cannot be, as when it is mounted alone into a container, it is marked. Besides, the data
//! directory records a salted hash of each token that was imported. A fingerprint would not do: a new store has another key
//! for those.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use jeton_core::access::TokenHash;
use jeton_core::entropy::Entropy;
use jeton_core::id::{ConnectionName, Generation};
use jeton_core::secret::Secret;
use jeton_keeper::{Vault, open_private};

use crate::actor;
use crate::command::import;
use crate::command_error::CommandError;

/// The file of the data directory with the hashes of imported tokens, one to a line, each with its salt before it.
const RECORD: &str = "imported";

/// Connects every connection that was never connected and has an `import` file. A file that is missing, unusable or was
/// imported before changes nothing and stops no other.
pub(super) async fn run_imports(
    vault: &Vault,
    data_dir: &Path,
    imports: &BTreeMap<ConnectionName, PathBuf>,
    entropy: &dyn Entropy,
) -> Result<(), CommandError> {
    for (connection, file) in imports.iter().filter(|(_, file)| file.exists()) {
        let is_connected = vault.status(connection.as_str()).await?.generation != Generation::default();
        let (grant, note) = match import::read(file) {
            Ok(read) => read,
            Err(_) if is_connected => continue,
            Err(error) => {
                tracing::error!(%connection, %error, "the tokens of a file were not imported");
                continue;
            }
        };
        // The one that matters.
        let Some(token) = grant.refresh.clone().or_else(|| grant.access.clone()) else { continue };
        let recorded = is_recorded(data_dir, &token);
        if is_connected {
            // Its token is older than the store's: it must not come back without it.
            record(data_dir, &token, entropy);
        } else if let Err(error) = &recorded {
            tracing::error!(
                %connection, %error,
                "the tokens of a file were not imported: the record of imported tokens cannot be read; let this user read the \
                 file `imported` in the data directory"
            );
        } else if recorded.is_ok_and(|recorded| recorded) {
            tracing::error!(
                %connection, file = %file.display(),
                "the tokens of a file were not imported: they were imported before, and may be spent; connect it anew with \
                 `jeton connect`, or import them all the same with `jeton connect --import`"
            );
        } else {
            if let Some(note) = note {
                tracing::warn!(%connection, note, "a part of the file was not imported");
            }
            match vault.connect(connection.as_str(), grant, &actor::current()).await {
                Ok(_) => {
                    record(data_dir, &token, entropy);
                    take_out_of_use(connection, file);
                }
                Err(error) => tracing::error!(%connection, %error, "the tokens of a file were not imported"),
            }
        }
    }
    Ok(())
}

/// The line that records a token.
fn line(salt: &str, token: &Secret) -> String {
    let salted = Secret::from(format!("{salt}{}", token.reveal()));
    format!("{salt}:{}", TokenHash::of(salted.reveal().as_bytes()).to_hex())
}

fn is_recorded(data_dir: &Path, token: &Secret) -> io::Result<bool> {
    let records = |known: &str| known.split_once(':').is_some_and(|(salt, _)| line(salt, token) == known);
    match fs::read_to_string(data_dir.join(RECORD)) {
        Ok(known) => Ok(known.lines().any(records)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn record(data_dir: &Path, token: &Secret, entropy: &dyn Entropy) {
    let path = data_dir.join(RECORD);
    let append = || {
        if is_recorded(data_dir, token)? {
            return Ok(());
        }
        let mut salt = [0; 16];
        entropy.fill(&mut salt);
        let mut file = open_private(OpenOptions::new().append(true).create(true), &path)?;
        file.write_all(
            format!("{}\n", line(&format!("{:032x}", u128::from_be_bytes(salt)), token)).as_bytes(),
        )?;
        file.sync_all()
    };
    if let Err(error) = append() {
        tracing::warn!(path = %path.display(), %error, "an imported token cannot be recorded");
    }
}

/// Renames the file, or marks it where it cannot be renamed.
fn take_out_of_use(connection: &ConnectionName, file: &Path) {
    let mut renamed = file.as_os_str().to_owned();
    renamed.push(".imported");
    let rename = fs::rename(file, &renamed);
    let Err(rename) = rename else {
        tracing::warn!(
            %connection, file = %Path::new(&renamed).display(),
            "connected with the tokens of a file, which was renamed; whoever used it before must not use it again"
        );
        return;
    };
    match mark(file) {
        Ok(()) => tracing::warn!(
            %connection, file = %file.display(), cannot_be_renamed = %rename,
            "connected with the tokens of a file, which was marked as imported; whoever used it before must not use it again"
        ),
        Err(error) => tracing::warn!(
            %connection, file = %file.display(), cannot_be_renamed = %rename, cannot_be_marked = %error,
            "connected with the tokens of a file that stays as it is; remove it, or a start that has lost the data directory \
             spends its token again"
        ),
    }
}

/// Adds the member that makes `import::read` refuse the file.
fn mark(file: &Path) -> io::Result<()> {
    let mut content: serde_json::Value = serde_json::from_str(&fs::read_to_string(file)?)?;
    content[import::MARK] = true.into();
    let mut file = OpenOptions::new().write(true).truncate(true).open(file)?;
    file.write_all(serde_json::to_string_pretty(&content)?.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use jeton_core::entropy::SystemEntropy;

    use super::*;

    #[test]
    fn a_file_that_cannot_be_renamed_is_marked_and_is_refused_from_then_on() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokens.json");
        fs::write(&file, r#"{"refresh_token": "hush", "domain": "acme.example.com"}"#).unwrap();
        import::read(&file).unwrap();
        // A file cannot take the place of a folder.
        fs::create_dir(folder.path().join("tokens.json.imported")).unwrap();
        take_out_of_use(&"acme".parse().unwrap(), &file);
        let refused = import::read(&file).unwrap_err().to_string();
        assert!(refused.contains("was imported before") && !refused.contains("hush"), "{refused}");
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains("acme.example.com") && text.contains("hush"), "nothing is lost: {text}");
    }

    #[test]
    fn a_recorded_token_is_known_again_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other] = ["hush-one", "hush-other"].map(Secret::new);
        let is_recorded = |token| is_recorded(folder.path(), token).unwrap();
        assert!(!is_recorded(&one));
        for token in [&one, &one, &other] {
            assert!(!is_recorded(&other));
            record(folder.path(), token, &SystemEntropy);
        }
        assert!(is_recorded(&one) && is_recorded(&other) && !is_recorded(&Secret::new("")));
        let text = fs::read_to_string(folder.path().join(RECORD)).unwrap();
        assert!(text.lines().count() == 2 && !text.contains("hush"), "{text}");
    }
}
