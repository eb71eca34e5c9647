//! What people did to connections is on record, and is read by one command and one URL.

use jeton_core::time::{Clock as _, SystemClock, Timestamp};
use jeton_testkit::{Client, PgCluster};
use serde_json::{Value, json};

use crate::fixture::{Fixture, PATIENCE};

/// What a row says, but for its id and its details.
fn told(row: &Value) -> (&str, &str, &str) {
    let text = |name: &str| row[name].as_str().unwrap();
    (text("deed"), text("actor"), text("subject"))
}

fn instant(row: &Value) -> Timestamp {
    Timestamp::parse_rfc3339(row["at"].as_str().unwrap()).unwrap()
}

async fn everything_done_to_a_connection_is_on_record(fixture: Fixture) {
    let begun = SystemClock.now();
    let first = fixture.connect("acme").await;
    let mut server = fixture.home.command(["serve"]).unwrap().serve().unwrap();
    server.wait_until_ready(PATIENCE).await.unwrap();
    let raw = fixture.home.service_token("operator", &["admin"]).await.unwrap();
    let admin = Client::new(&server.base_url()).with_header("x-service-token", &raw);

    let paused = admin.post("/api/v1/connections/acme/pause", &json!({})).await.unwrap();
    assert_eq!(paused.status, 200, "{}", paused.text());
    fixture.run(["pause", "acme"]).await.success().unwrap();
    fixture.run(["resume", "acme"]).await.success().unwrap();
    let second = fixture.connect("acme").await;
    assert_eq!(admin.delete("/api/v1/connections/acme").await.unwrap().status, 204);
    fixture.connect("acme").await;
    fixture.run(["disconnect", "acme"]).await.success().unwrap();

    let rows = fixture.run(["audit", "acme", "--json"]).await.json().unwrap();
    let rows = rows.as_array().unwrap();
    let shell = rows[0]["actor"].as_str().unwrap();
    assert!(shell.starts_with("shell:") && shell.contains('@'), "{shell}");
    assert_eq!(
        rows.iter().map(told).collect::<Vec<_>>(),
        [
            ("connection.disconnected", shell, "acme"),
            ("connection.connected", shell, "acme"),
            ("connection.disconnected", "service:operator", "acme"),
            ("connection.connected", shell, "acme"),
            ("connection.resumed", shell, "acme"),
            ("connection.paused", "service:operator", "acme"),
            ("connection.connected", shell, "acme"),
        ],
        "a pause of what was paused changed nothing"
    );
    let replaced: Vec<_> = [6, 3, 1].map(|at| &rows[at]["details"]["replaced"]).into();
    assert_eq!(replaced, [false, true, false]);
    let times: Vec<_> = rows.iter().rev().map(instant).collect();
    assert!(times.is_sorted() && begun <= times[0] && times[6] <= SystemClock.now(), "{times:?}");
    let logged = fixture.run(["logs", "--connection", "acme", "--json"]).await.json().unwrap();
    let logged: Vec<_> = logged.as_array().unwrap().iter().map(|attempt| &attempt["id"]).collect();
    assert!([6, 3, 1].iter().all(|at| logged.contains(&&rows[*at]["details"]["attempt"])), "{logged:?}");

    let page = admin.get_json("/api/v1/audit?subject=acme").await.unwrap();
    assert_eq!(page["items"].as_array().unwrap(), rows);
    let table = fixture.run(["audit", "--lines", "3"]).await.success().unwrap();
    assert!(table.contains("connection.disconnected") && table.contains("a grant, generation "), "{table}");
    assert_eq!(table.lines().count(), 4, "{table}");
    let whole = fixture.run(["audit"]).await.success().unwrap();
    assert!(
        whole.contains("service_token.created") && whole.contains("a grant in place of another"),
        "{whole}"
    );
    for secret in [first.reveal(), second.reveal(), &raw] {
        assert!(!whole.contains(secret) && !page.to_string().contains(secret));
    }
    assert_eq!(fixture.run(["audit", "No Name"]).await.code, Some(2));
}

#[tokio::test]
async fn everything_done_to_a_connection_is_on_record_with_who_and_when() {
    everything_done_to_a_connection_is_on_record(Fixture::new().await).await;
}

#[tokio::test]
async fn everything_done_to_a_connection_is_on_record_on_postgres_too() {
    let database = PgCluster::shared().unwrap().empty_database().unwrap();
    let mut fixture = Fixture::new().await;
    fixture.home.set("store", "url", database.url()).unwrap();
    everything_done_to_a_connection_is_on_record(fixture).await;
}
