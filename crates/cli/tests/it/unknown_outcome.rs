//! Tokens of which nobody knows whether they were accepted.

use jeton_emulator::{Behaviour, Fault, FaultKind};

use crate::fixture::{Fixture, connection};

#[tokio::test]
async fn forcing_all_decides_nothing_about_a_token_of_unknown_outcome_and_forcing_it_by_its_name_does() {
    let mut fixture = Fixture::new().await;
    fixture.home.add_connection("beta", connection(&fixture.emulator)).unwrap();
    fixture.connect("acme").await;
    fixture.connect("beta").await;
    fixture.emulator.set_behaviour(Behaviour::from_queue([Fault::new(FaultKind::CutBefore)]));
    let cut = fixture.run(["refresh", "--connection", "acme", "--force", "--sync"]).await;
    assert_eq!(cut.code, Some(1), "{cut:?}");
    assert!(cut.stdout.contains("was interrupted after its refresh token was sent"), "{cut:?}");

    let all = fixture.run(["refresh", "--force"]).await.success().unwrap();
    assert!(all.starts_with("beta: refreshed, generation 2") && !all.contains("acme"), "{all}");
    let group =
        fixture.run(["refresh", "--force", "--provider", "oauth2", "--sync"]).await.success().unwrap();
    assert!(group.contains("beta") && !group.contains("acme"), "{group}");
    assert_eq!(fixture.emulator.records().len(), 3, "one cut, two of the other connection");

    let named = fixture.run(["refresh", "--force", "--connection", "acme"]).await.success().unwrap();
    assert!(named.starts_with("acme: refreshed, generation 2"), "{named}");
}
