//! What it says of rows that somebody else has changed, and of its clock.

use jeton_core::id::Revision;
use jeton_core::keep::ports::{ChangeFeed as _, ConnectionStore as _, name_of, revision_of};
use jeton_core::time::{Clock as _, SystemClock};

use super::fixture::{claim, connect, folder, open};

#[tokio::test]
async fn a_row_that_says_what_no_row_can_say_names_its_table_and_column() {
    let (_folder, path) = folder();
    let store = open(&path);
    store.connect(connect("acme", 1)).await.unwrap();
    let editor = rusqlite::Connection::open(&path).unwrap();
    editor.execute("UPDATE connections SET state = 'wonderful'", ()).unwrap();
    let error = store.find(&"acme".parse().unwrap()).await.unwrap_err().to_string();
    assert!(error.contains("connections.state of acme") && error.contains("wonderful"), "{error}");
    editor.execute("UPDATE connections SET state = 'live'", ()).unwrap();
    editor.execute("UPDATE tokens SET generation = 7", ()).unwrap();
    let error = store.claim(claim("acme", 1)).await.unwrap_err().to_string();
    assert!(error.contains("tokens.generation of acme"), "{error}");
}

#[tokio::test]
async fn the_database_itself_refuses_a_generation_that_goes_back() {
    let (_folder, path) = folder();
    let store = open(&path);
    store.connect(connect("acme", 1)).await.unwrap();
    let editor = rusqlite::Connection::open(&path).unwrap();
    let refused = editor.execute("UPDATE connections SET generation = 0", ()).unwrap_err();
    assert!(refused.to_string().contains("never goes back"));
}

#[tokio::test]
async fn the_instant_of_the_store_is_that_of_its_clock() {
    let (_folder, path) = folder();
    let store = open(&path);
    let before = SystemClock.now();
    assert!(store.clock().await.unwrap().now >= before);
}

#[tokio::test]
async fn a_row_that_cannot_be_read_has_its_place_in_lists_and_feeds_and_keeps_no_other_out() {
    let (_folder, path) = folder();
    let store = open(&path);
    for (number, name) in (1..).zip(["a", "b", "c"]) {
        store.connect(connect(name, number)).await.unwrap();
    }
    let editor = rusqlite::Connection::open(&path).unwrap();
    editor.execute("UPDATE tokens SET generation = 7 WHERE connection = 'a'", ()).unwrap();
    editor.execute("UPDATE connections SET state = 'wonderful' WHERE name = 'b'", ()).unwrap();
    let listed = store.list(None, 10).await.unwrap();
    let changed = store.changed_since(Revision(0), 10).await.unwrap();
    assert_eq!(listed, changed, "their changes are in the order of their names");
    let seen: Vec<_> =
        listed.iter().map(|row| (name_of(row).as_str(), revision_of(row), row.is_ok())).collect();
    assert_eq!(seen, [("a", Revision(1), false), ("b", Revision(2), false), ("c", Revision(3), true)]);
    let words = listed[1].as_ref().unwrap_err().to_string();
    assert!(words.contains("connections.state") && words.contains("connect it anew"), "{words}");
}
