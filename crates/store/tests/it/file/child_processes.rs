//! What other processes do to a token file: tests that only `processes` starts, in processes of their own.

use std::io::{BufRead as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use jeton_core::keep::claim::{Claim, ClaimAnswer};
use jeton_core::keep::ports::{CommitAnswer, ConnectionStore as _, StoreError};

use super::fixture::{claim_of, commit_of, open, row};
use crate::requests::connect;

/// Where a child finds the file.
pub(super) const FILE: &str = "JETON_TEST_TOKEN_FILE";

fn path() -> PathBuf {
    std::env::var_os(FILE).expect("the parent names the file").into()
}

fn tell(line: &str) {
    let mut out = std::io::stdout().lock();
    // On a line of its own: the test runner has begun one.
    write!(out, "\n{line}\n").unwrap();
    out.flush().unwrap();
}

#[tokio::test]
#[ignore = "a child of another test"]
async fn refreshes_for_ever() {
    let store = open(&path());
    loop {
        let row = row(&store).await;
        // The process before died in mid-refresh: its lease is short, and its attempt is recovered.
        let claim = Claim { lease_ttl: Duration::from_micros(1), ..claim_of(&row) };
        if let ClaimAnswer::Won { .. } = store.claim(claim.clone()).await.unwrap()
            && let CommitAnswer::Committed { generation } = store.commit(commit_of(&claim)).await.unwrap()
        {
            tell(&format!("committed {}", generation.0));
        }
    }
}

#[tokio::test]
#[ignore = "a child of another test"]
async fn races_for_claims() {
    let store = open(&path());
    tell("ready");
    std::io::stdin().lock().read_line(&mut String::new()).unwrap();
    loop {
        let row = row(&store).await;
        if row.generation.0 > 150 {
            return;
        }
        let claim = Claim { recovers: None, ..claim_of(&row) };
        if let ClaimAnswer::Won { .. } = store.claim(claim.clone()).await.unwrap() {
            tell(&format!("won {}", claim.generation.0));
            let answer = store.commit(commit_of(&claim)).await.unwrap();
            assert!(matches!(answer, CommitAnswer::Committed { .. }), "{answer:?}");
            // A winner takes a breath, so that the other one finds the lock free.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

#[tokio::test]
#[ignore = "a child of another test"]
async fn writes_to_a_full_disk() {
    let store = open(&path());
    let mut order = connect("large", 9);
    order.tokens.as_mut().unwrap().access = Some(vec![1; 256 * 1024]);
    let error = store.connect(order).await.unwrap_err();
    assert!(matches!(&error, StoreError::Unwritable(text) if text.contains("no space is left")), "{error:?}");
    assert_eq!(row(&store).await.generation.0, 1, "it still reads");
    tell("refused");
}
