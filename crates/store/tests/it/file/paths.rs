//! Where a token file may stand, who may read it, and what is refused.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jeton_core::id::Generation;
use jeton_core::keep::ports::{ChangeFeed as _, ConnectAnswer, ConnectionStore as _, StoreError};
use jeton_store::{FileOptions, FileStore};

use super::fixture::{folder, open, options, refresh, row};
use crate::requests::{self, connect};

fn refusal(path: &Path) -> String {
    requests::refusal(FileStore::open(path, options()))
}

fn mode(path: &Path) -> Option<u32> {
    Some(fs::metadata(path).ok()?.permissions().mode() & 0o777)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    path.with_file_name(format!("tokens.json{suffix}"))
}

#[tokio::test]
async fn all_its_files_are_private_from_their_first_moment() {
    // Nothing is masked, so that whatever is created with too wide a mode shows it.
    rustix::process::umask(rustix::fs::Mode::empty());
    let (_folder, path) = folder();
    let over = Arc::new(AtomicBool::new(false));
    let watcher = {
        let (over, path) = (Arc::clone(&over), path.clone());
        std::thread::spawn(move || {
            let mut seen = [0; 3];
            while !over.load(Ordering::SeqCst) {
                for (count, suffix) in seen.iter_mut().zip(["", ".new", ".lock"]) {
                    if let Some(mode) = mode(&beside(&path, suffix)) {
                        assert_eq!(mode, 0o600, "tokens.json{suffix}");
                        *count += 1;
                    }
                }
            }
            seen
        })
    };
    let store = open(&path);
    store.connect(connect("acme", 1)).await.unwrap();
    for _ in 0..60 {
        refresh(&store).await;
    }
    over.store(true, Ordering::SeqCst);
    let seen = watcher.join().unwrap();
    assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
}

#[test]
fn a_file_that_others_can_read_is_tightened() {
    let (_folder, path) = folder();
    drop(open(&path));
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    drop(open(&path));
    assert_eq!(mode(&path), Some(0o600));
}

#[test]
fn what_cannot_be_a_token_file_is_refused_in_one_sentence_that_names_the_cure() {
    let (folder, _) = folder();
    assert!(refusal(folder.path()).contains("is a folder: name a file in it"));
    assert!(refusal(&folder.path().join("missing/tokens.json")).contains("missing is not a folder: make it"));
    assert!(refusal(Path::new("/dev/null")).contains("is not a plain file"));
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error_that_names_the_cure() {
    let (folder, path) = folder();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o500)).unwrap();
    let root = fs::write(folder.path().join("probe"), "").is_ok();
    // Root may write everywhere but into the kernel's own folders.
    let path = if root { PathBuf::from("/proc/tokens.json") } else { path };
    let error = FileStore::open(&path, options()).unwrap_err().to_string();
    assert!(error.contains("tokens.json.lock cannot be locked"), "{error}");
    fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn a_file_of_somebody_else_is_refused_and_left_alone() {
    let (_folder, path) = folder();
    for (text, why) in [
        ("", "is empty, as no token file ever is: put back a copy"),
        ("This is a letter.", "is not a token file of jeton: name another file"),
        (r#"{"access_token": "hush", "refresh_token": "hush"}"#, "is JSON, and not a token file of jeton"),
        (r#"{"format": "jeton tokens", "version": 99, "more": []}"#, "version 99, this one knows 3"),
        ("\u{0}\u{1}\u{2}", "is not a token file"),
    ] {
        fs::write(&path, text).unwrap();
        let refused = refusal(&path);
        assert!(refused.contains(why) && !refused.contains("hush"), "{refused}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}

#[tokio::test]
async fn a_damaged_file_is_refused_with_the_place_of_the_damage_and_left_alone() {
    let (_folder, path) = folder();
    let store = open(&path);
    store.connect(connect("acme", 1)).await.unwrap();
    let whole = fs::read_to_string(&path).unwrap();
    for damaged in [
        whole[..whole.len() / 2].to_owned(),
        whole.replace("\"live\"", "\"wonderful\""),
        whole.replace("\"generation\": 1", "\"generations\": 1"),
        format!("{whole}{whole}"),
    ] {
        assert_ne!(damaged, whole);
        fs::write(&path, &damaged).unwrap();
        assert!(refusal(&path).contains("is damaged at line "), "{}", refusal(&path));
        // A process that has it open finds out as well, and its writes change nothing.
        let read = store.find(&"acme".parse().unwrap()).await.unwrap_err().to_string();
        let written = store.connect(connect("other", 2)).await.unwrap_err().to_string();
        assert!(read.contains("is damaged") && written.contains("is damaged"), "{read} {written}");
        assert_eq!(fs::read_to_string(&path).unwrap(), damaged);
    }
    fs::write(&path, whole).unwrap();
    assert_eq!(row(&store).await.generation, Generation(1));
}

#[tokio::test]
async fn what_a_person_edits_is_noticed() {
    let (_folder, path) = folder();
    let store = open(&path);
    store.connect(connect("acme", 1)).await.unwrap();
    let seen = store.revision().await.unwrap();
    assert!(!row(&store).await.paused);
    let text = fs::read_to_string(&path).unwrap();
    let edited =
        text.replace("\"paused\": false", "\"paused\": true").replace("\"revision\": 1", "\"revision\": 2");
    fs::write(&path, edited).unwrap();
    tokio::time::timeout(Duration::from_secs(5), store.wait_for_change(seen)).await.unwrap();
    assert!(row(&store).await.paused);
}

#[tokio::test]
async fn a_file_that_is_taken_away_is_not_made_anew_behind_anybodys_back() {
    let (folder, path) = folder();
    let store = open(&path);
    store.connect(connect("acme", 1)).await.unwrap();
    let away = folder.path().join("away.json");
    fs::rename(&path, &away).unwrap();
    let error = store.connect(connect("other", 2)).await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("is gone: put it back"), "{error}");
    assert!(!path.exists());
    fs::rename(&away, &path).unwrap();
    assert_eq!(refresh(&store).await, Generation(2));
}

#[tokio::test]
async fn a_link_goes_on_leading_to_the_file() {
    let (folder, path) = folder();
    let link = folder.path().join("link.json");
    drop(open(&path));
    symlink(&path, &link).unwrap();
    let store = open(&link);
    store.connect(connect("acme", 1)).await.unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(row(&open(&path)).await.generation, Generation(1));
}

#[tokio::test]
async fn a_lock_that_others_keep_is_waited_for_and_then_unavailable() {
    let (_folder, path) = folder();
    let options = FileOptions { busy_timeout: Duration::from_millis(200), ..options() };
    let store = FileStore::open(&path, options).unwrap();
    let rival = File::options().read(true).write(true).open(beside(&path, ".lock")).unwrap();
    rival.lock().unwrap();
    let error = store.connect(connect("acme", 1)).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Unavailable(text) if text.contains("another process holds")),
        "{error}"
    );
    assert_eq!(
        store.find(&"acme".parse().unwrap()).await.unwrap(),
        None,
        "what is in memory is read all the same"
    );
    let waiting = store.connect(connect("acme", 1));
    let release = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        rival.unlock().unwrap();
    };
    assert!(matches!(tokio::join!(waiting, release).0, Ok(ConnectAnswer::Connected { .. })));
}

#[tokio::test]
async fn what_a_killed_process_left_half_written_is_taken_away() {
    let (_folder, path) = folder();
    let store = open(&path);
    store.connect(connect("acme", 1)).await.unwrap();
    fs::write(beside(&path, ".new"), "{\"format\": \"jeton to").unwrap();
    assert_eq!(refresh(&store).await, Generation(2));
    assert!(!beside(&path, ".new").exists());
}

#[tokio::test]
async fn a_call_whose_caller_goes_away_is_done_all_the_same() {
    let (_folder, path) = folder();
    let store = open(&path);
    {
        let ordered = store.connect(connect("acme", 1));
        // Polled once, so that it is ordered, and then given up by its caller.
        tokio::select! { biased; _ = ordered => {}, () = std::future::ready(()) => {} }
    }
    // Calls are done one after the other: this one waits for that.
    assert_eq!(row(&store).await.generation, Generation(1));
}
