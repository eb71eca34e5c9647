//! Users of PostgreSQL with fewer rights than jeton needs: told at the start and by the doctor, with the cure, and while
//! `jeton serve` runs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use jeton_testkit::TestInstallation;
use tokio::time::{Duration, sleep};

use crate::fixture::{PATIENCE, error_line, run, until};

/// A home that comes to its database as another user, who may only read; and the name of the user.
fn home_of_a_reader() -> (TestInstallation, String) {
    let mut home = TestInstallation::on_postgres().unwrap();
    let database = home.postgres().unwrap();
    let user = format!("reader_of_{}", database.name());
    let make = format!("CREATE ROLE {user} LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {user}");
    database.query(&make).unwrap();
    let url = database.url().replace("postgres://jeton@", &format!("postgres://{user}@"));
    home.set("store", "url", url).unwrap();
    fs::set_permissions(home.settings(), fs::Permissions::from_mode(0o600)).unwrap();
    (home, user)
}

/// The statements that a sentence gives as its cure.
fn grants(said: &str) -> &str {
    let (_, rest) = said.split_once("as an administrator run `").expect(said);
    rest.split_once("` there").expect(said).0
}

#[tokio::test]
async fn a_user_who_may_only_read_is_told_at_the_start_and_by_the_doctor_and_the_cure_is_one() {
    let (home, user) = home_of_a_reader();
    let served = error_line(&run(&home, ["serve"]).await, 1);
    assert!(served.contains(&format!("the user {user} lacks rights in postgres://")), "{served}");
    assert!(served.contains(&format!("GRANT INSERT, UPDATE ON public.connections TO {user}")), "{served}");
    assert_eq!(error_line(&run(&home, ["status"]).await, 1), served);
    let looked = run(&home, ["doctor", "--offline"]).await;
    assert_eq!(looked.code, Some(1), "{looked:?}");
    assert!(looked.stdout.contains("\n1 fault, "), "{looked:?}");
    let fault = looked.stdout.lines().find(|line| line.starts_with("fault")).unwrap();
    assert!(fault.contains(" store ") && served.contains(grants(fault)), "{fault}");

    home.postgres().unwrap().query(grants(fault)).unwrap();
    run(&home, ["service-token", "create", "bot1"]).await.success().unwrap();
    run(&home, ["status"]).await.success().unwrap();
    let looked = run(&home, ["doctor", "--offline"]).await.success().unwrap();
    assert!(looked.contains("\n0 faults, "), "{looked}");
}

#[tokio::test]
async fn a_node_whose_heartbeats_are_refused_warns_once_until_one_is_recorded() {
    let (home, user) = home_of_a_reader();
    let database = home.postgres().unwrap();
    database.query(grants(&error_line(&run(&home, ["status"]).await, 1))).unwrap();
    let mut server = home.command(["serve"]).unwrap().serve().unwrap();
    server.wait_until_ready(PATIENCE).await.unwrap();
    let warnings = || server.output().unwrap().matches("other nodes count this one as gone").count();
    assert_eq!(warnings(), 0);

    let seen = "SELECT count(*), max(seen_at) FROM nodes";
    until("it sends a heartbeat", async || database.query(seen).unwrap()[0][1].is_some()).await;
    let take = || database.query(&format!("REVOKE INSERT ON nodes FROM {user}")).unwrap();
    take();
    until("it warns", async || warnings() == 1).await;
    // Some more heartbeats are refused.
    sleep(Duration::from_secs(12)).await;
    assert_eq!(warnings(), 1, "{}", server.output().unwrap());
    let before = database.query(seen).unwrap();
    database.query(&format!("GRANT INSERT ON nodes TO {user}")).unwrap();
    until("a heartbeat is recorded", async || database.query(seen).unwrap() != before).await;
    take();
    until("it warns again", async || warnings() == 2).await;
    let written = server.output().unwrap();
    let warned = written.lines().find(|line| line.contains("other nodes count this one as gone")).unwrap();
    assert!(warned.contains("WARN") && warned.contains("lacks a right"), "{warned}");
}
