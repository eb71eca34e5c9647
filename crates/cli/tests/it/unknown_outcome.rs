//! Tokens of which nobody knows whether they were accepted.

use jeton_emulator::{Behaviour, Fault, FaultKind};

use crate::fixture::{Fixture, connection, run};
use jeton_emulator::{Emulator, Settings};
use jeton_testkit::TestInstallation;

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

#[tokio::test]
async fn where_policy_asks_a_person_nothing_says_that_jeton_goes_on_by_itself() {
    let emulator = Emulator::start(Settings::default()).await.unwrap();
    let mut home = TestInstallation::new().unwrap();
    home.add_connection("acme", connection(&emulator).with_policy("on_unknown", "ask")).unwrap();
    let fixture = Fixture { home, emulator };
    fixture.connect("acme").await;
    let force = || run(&fixture.home, ["refresh", "--connection", "acme", "--force", "--sync"]);
    for (fault, told) in
        [(FaultKind::CutBefore, "may have spent the token"), (FaultKind::RefuseGrant, "refused once (")]
    {
        fixture.emulator.set_behaviour(Behaviour::from_queue([Fault::new(fault)]));
        let failed = force().await;
        assert_eq!(failed.code, Some(1), "{failed:?}");
        let status = fixture.run(["status"]).await.success().unwrap();
        let doctor = fixture.run(["doctor", "--offline"]).await.stdout;
        let logs = fixture.run(["logs"]).await.success().unwrap();
        let row = status.lines().nth(1).unwrap();
        assert!(row.contains(told), "{status}");
        assert!(
            row.contains("a person decides: `jeton refresh --connection acme --force` sends it again"),
            "{status}"
        );
        assert!(doctor.contains("its policy asks a person"), "{doctor}");
        for text in [failed.stdout, status, doctor, logs] {
            for promise in ["once more before", "sends it again at", "`jeton serve`", "  in "] {
                assert!(!text.contains(promise), "{promise}: {text}");
            }
        }
    }
    assert!(
        fixture
            .run(["doctor", "--offline"])
            .await
            .stdout
            .contains("which the provider refused when it was sent again")
    );
    let sent = force().await.success().unwrap();
    assert!(sent.contains("refreshed, generation 2"), "{sent}");
}
