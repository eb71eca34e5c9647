//! A file that an older jeton wrote, in version 1 of the format, opens as it is and goes on in the version of today.

use std::fs;
use std::time::Duration;

use jeton_core::id::{ConsentId, Generation};
use jeton_core::keep::attempt::{AttemptStatus, Trigger};
use jeton_core::keep::consent::ConsentOutcome;
use jeton_core::keep::ports::{
    AttemptFilter, AttemptLog as _, ConnectionStore as _, ConsentKey, ConsentStore as _, Maintenance as _,
};

use super::fixture::{folder, open, row};
use crate::requests::connect;

const FILE: &str = include_str!("version_1.json");

#[tokio::test]
async fn all_that_a_file_of_version_1_holds_is_there_and_stays_in_the_version_of_today() {
    let (_folder, path) = folder();
    fs::write(&path, FILE).unwrap();
    let store = open(&path);
    let acme = row(&store).await;
    assert_eq!((acme.generation, acme.refresh_trigger), (Generation(2), Some(Trigger::Rejected)));
    assert_eq!(acme.tokens.as_ref().unwrap().extras, Some(vec![5; 9]));
    assert_eq!(acme.orphans.len(), 1);
    assert_eq!(acme.backoff.unwrap().step, Duration::from_mins(1));
    assert!(acme.lease.is_some() && acme.open_attempt == acme.lease.map(|lease| lease.attempt));
    let paused = store.find(&"paused".parse().unwrap()).await.unwrap().unwrap();
    assert!(paused.paused && paused.tokens.is_some());
    let identity = store.identity().await.unwrap().unwrap();
    assert_eq!(identity.key_check, vec![7; 40]);
    assert_eq!(store.find_setting("api-key").await.unwrap(), Some(vec![1, 2, 3]));
    let attempts = store.list_attempts(&AttemptFilter::default(), 100).await.unwrap();
    let unread = attempts.iter().find(|attempt| attempt.code.as_deref() == Some("unreadable")).unwrap();
    assert_eq!((unread.status, unread.http_status), (AttemptStatus::Interrupted, Some(200)));
    assert_eq!(store.find_kept_reply(unread.id).await.unwrap(), Some(vec![8; 12]));
    let [exchanged, refused] = [1, 2].map(|number| ConsentKey::Id(ConsentId::from_bytes([number; 16])));
    let exchanged = store.find_consent(exchanged).await.unwrap().unwrap();
    assert!(
        matches!(exchanged.consent.outcome, Some(ConsentOutcome::Exchange(_))) && exchanged.attempt.is_some()
    );
    let refused = store.find_consent(refused).await.unwrap().unwrap();
    assert!(
        matches!(&refused.consent.outcome, Some(ConsentOutcome::Refused { code, .. }) if code == "access_denied")
    );

    store.connect(connect("other", 77)).await.unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("\"version\": 3") && text.contains("web-1"), "it is written anew");
    let again = open(&path);
    assert_eq!(row(&again).await, acme);
    assert_eq!(again.list_attempts(&AttemptFilter::default(), 100).await.unwrap().len(), attempts.len() + 1);
    assert_eq!(again.find_kept_reply(unread.id).await.unwrap(), Some(vec![8; 12]));
    assert_eq!(again.identity().await.unwrap(), Some(identity));
}
