//! Its files: where they may stand, who may read them, what is left in them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use jeton_core::keep::ports::ConnectionStore as _;
use jeton_store::SqliteStore;

use super::fixture::{claim, commit, connect, folder, open, options};
use crate::requests;

fn refusal(path: &Path) -> String {
    requests::refusal(SqliteStore::open(path, options()))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(suffix);
    beside.into()
}

#[tokio::test]
async fn all_files_are_private_from_creation() {
    let (_folder, path) = folder();
    let store = open(&path);
    store.connect(connect("acme", 1)).await.unwrap();
    for file in [path.clone(), beside(&path, "-wal"), beside(&path, "-shm")] {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[test]
fn a_file_that_others_can_read_is_tightened() {
    let (_folder, path) = folder();
    drop(open(&path));
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    drop(open(&path));
    assert_eq!(mode(&path), 0o600);
}

#[test]
fn what_cannot_be_a_database_is_refused_in_one_sentence_that_names_the_cure() {
    let (folder, path) = folder();
    assert!(refusal(folder.path()).contains("is a folder: name a file in it"));
    let lost = folder.path().join("missing/jeton.db");
    assert!(refusal(&lost).contains("missing is not a folder: make it"));
    fs::write(&path, "This is a letter, and not a database, but it is long enough to be one. ".repeat(20))
        .unwrap();
    assert!(refusal(&path).contains("is not a SQLite database: name another file"));
    assert!(refusal(Path::new("/proc/jeton.db")).starts_with("/proc"));
    assert!(refusal(Path::new("/dev/null")).contains("is not a plain file"));
}

#[test]
fn a_folder_that_cannot_be_written_is_refused() {
    let (folder, _) = folder();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o500)).unwrap();
    if fs::write(folder.path().join("probe"), "").is_ok() {
        // Root may write everywhere but into the kernel's own folders.
        assert!(refusal(Path::new("/sys/jeton.db")).contains("this user"));
    } else {
        assert!(refusal(&folder.path().join("jeton.db")).contains("let this user write to it"));
    }
    fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn the_database_of_another_program_is_left_alone() {
    let (_folder, path) = folder();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE recipes (name TEXT)").unwrap();
    drop(other);
    assert!(refusal(&path).contains("is the database of another program"));
    let other = rusqlite::Connection::open(&path).unwrap();
    let tables: i64 = other.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0)).unwrap();
    assert_eq!(tables, 1);
}

#[test]
fn a_database_newer_than_the_binary_is_refused_in_words_and_unchanged() {
    let (_folder, path) = folder();
    drop(open(&path));
    let newer = rusqlite::Connection::open(&path).unwrap();
    newer.execute("INSERT INTO migrations VALUES (900, 'later', 'x', 0)", ()).unwrap();
    drop(newer);
    let text = refusal(&path);
    assert!(text.contains("has schema 900") && text.contains("start the newer jeton"), "{text}");
}

#[test]
fn many_may_open_a_new_database_at_once() {
    let (_folder, path) = folder();
    let stores: Vec<_> = std::thread::scope(|scope| {
        let opening: Vec<_> = (0..8).map(|_| scope.spawn(|| open(&path))).collect();
        opening.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(stores.len(), 8);
}

#[tokio::test]
async fn dropping_the_store_does_what_was_ordered_and_closes_the_file() {
    let (_folder, path) = folder();
    let store = open(&path);
    store.connect(connect("acme", 1)).await.unwrap();
    {
        let ordered = store.claim(claim("acme", 1));
        // Polled once, so that it is ordered, and then given up by its caller.
        tokio::select! { biased; _ = ordered => {}, () = std::future::ready(()) => {} }
    }
    drop(store);
    let log = fs::metadata(beside(&path, "-wal")).unwrap();
    assert_eq!(log.len(), 0, "all of it is in the database, and the log stays for a start on a full disk");
    let again = open(&path);
    assert!(again.find(&"acme".parse().unwrap()).await.unwrap().unwrap().lease.is_some());
}

#[tokio::test]
async fn wiped_tokens_are_overwritten_in_the_file() {
    let (_folder, path) = folder();
    let store = open(&path);
    let mut order = connect("acme", 1);
    let marked = b"a sealed refresh token that must not stay in the file".to_vec();
    order.tokens.as_mut().unwrap().refresh = Some(marked.clone());
    store.connect(order.clone()).await.unwrap();
    drop(store);
    let holds = |bytes: Vec<u8>| bytes.windows(marked.len()).any(|window| window == marked);
    assert!(holds(fs::read(&path).unwrap()));
    let store = open(&path);
    let claim = claim("acme", 1);
    store.claim(claim.clone()).await.unwrap();
    store.commit(commit(&claim, 2)).await.unwrap();
    drop(store);
    assert!(!holds(fs::read(&path).unwrap()));
}
