//! The API key that the first start generates: the store keeps its hash, and the operator gets it once.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use jeton_core::access::{TokenHash, raw};
use jeton_core::secret::Secret;
use serde_json::json;
use tempfile::NamedTempFile;

use crate::app::App;
use crate::command_error::CommandError;
use crate::error_code::ErrorCode;
use crate::output::Output;

/// The name under which the store keeps the hash of a generated key.
const API_KEY_HASH: &str = "api_key_hash";

/// The file in the data directory that takes the key where standard output is no terminal, and so may be a log.
const KEY_FILE: &str = "api-key";

/// The key whose hash the store keeps. The first start generates it; it shows it on a terminal, else in a file.
pub(super) async fn stored_api_key(
    app: &App,
    data_dir: &Path,
    output: Output,
) -> Result<TokenHash, CommandError> {
    if let Some(hash) = app.store.find_setting(API_KEY_HASH).await? {
        return read_hash(&hash);
    }
    let (text, key) = raw::generate_api_key(&*app.host.entropy);
    // Written before its hash: a key that nobody can read must never count.
    let path = data_dir.join(KEY_FILE);
    let to_file = !io::stdout().is_terminal();
    let file = to_file.then(|| write_beside(&path, &text)).transpose();
    let file = file.map_err(|error| not_written(&path, &error))?;
    let kept = read_hash(&app.store.insert_setting(API_KEY_HASH, key.as_bytes().to_vec()).await?)?;
    match file {
        // Another process was faster: its key counts, and it has shown it.
        _ if kept != key => {}
        Some(file) => {
            file.persist(&path).map_err(|error| not_written(&path, &error.error))?;
            jeton_keeper::give_to_owner_of_folder(&path);
            tracing::warn!(
                file = %path.display(),
                "the API key of this installation is in a file; keep it elsewhere, and delete the file"
            );
        }
        None => {
            let said = format!(
                "The API key of this installation, shown only now (jeton keeps its hash):\n\n    {}\n\nSend it as the header \
                 X-API-KEY. If you lose it, set your own key in the environment as API_KEY, which replaces it.",
                text.reveal()
            );
            output.print(&said, &json!({ "api_key": text.reveal() }))?;
        }
    }
    Ok(kept)
}

/// A file in the folder of `path`, for its owner only, that holds the key durably.
fn write_beside(path: &Path, key: &Secret) -> io::Result<NamedTempFile> {
    let folder: PathBuf = path.parent().unwrap_or(Path::new(".")).to_owned();
    let mut file = NamedTempFile::with_prefix_in(".api-key-", folder)?;
    writeln!(file, "{}", key.reveal())?;
    file.as_file().sync_all()?;
    Ok(file)
}

fn not_written(path: &Path, error: &io::Error) -> CommandError {
    let text = format!(
        "the API key of this installation cannot be written to {}: {error}; mend that, or set your own key in the environment as \
         API_KEY",
        path.display()
    );
    CommandError::new(ErrorCode::SystemRefused, text)
}

fn read_hash(bytes: &[u8]) -> Result<TokenHash, CommandError> {
    bytes.try_into().map(TokenHash::from_bytes).map_err(|_| {
        let text = format!(
            "the store keeps {} bytes as `{API_KEY_HASH}`, which is no SHA-256; set API_KEY instead",
            bytes.len()
        );
        CommandError::new(ErrorCode::StoreUnavailable, text)
    })
}
