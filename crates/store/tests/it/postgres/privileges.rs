//! Users with fewer rights than the store needs: told when it is opened or looked at, with the statements that give them.

use jeton_core::keep::ports::ConnectionStore as _;
use jeton_store::postgres::inspect;
use jeton_store::{PostgresOptions, PostgresStore};
use jeton_testkit::{PgCluster, PgDatabase};

use super::fixture::{connect, database, options};
use crate::requests;

const GUEST: &str = "guest";

/// The URL for a user who owns nothing and was given nothing.
fn as_a_guest(database: &PgDatabase) -> String {
    let make = format!(
        "DO $$ BEGIN CREATE ROLE {GUEST} LOGIN;
         EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
    );
    database.query(&make).unwrap();
    database.url().replace("postgres://jeton@", &format!("postgres://{GUEST}@"))
}

/// The refusal of whoever opens the store, which whoever looks at it gets too.
async fn refusal(options: &PostgresOptions) -> String {
    let opened = requests::refusal(PostgresStore::open(options.clone()).await);
    assert_eq!(requests::refusal(inspect(options).await), opened);
    opened
}

/// The statements that a refusal gives as its cure.
fn grants(refusal: &str) -> &str {
    let (_, rest) = refusal.split_once("as an administrator run `").expect(refusal);
    rest.split_once("` there").expect(refusal).0
}

/// The URL for a user who has the rights that are asked for, and no more.
pub(super) async fn with_what_is_asked_for(database: &PgDatabase) -> String {
    let url = as_a_guest(database);
    if let Err(refused) = PostgresStore::open(options(&url)).await {
        database.query(grants(&refused.to_string())).unwrap();
    }
    url
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_may_only_read_is_told_every_right_and_how_to_get_it() {
    let database = database();
    let guest = options(&as_a_guest(&database));
    database.query(&format!("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {GUEST}")).unwrap();
    let text = refusal(&guest).await;
    assert!(text.starts_with("the user guest lacks rights in postgres://guest@"), "{text}");
    for grant in [
        "GRANT INSERT, UPDATE ON public.connections TO guest",
        "GRANT INSERT, UPDATE, DELETE ON public.nodes TO guest",
        "GRANT INSERT ON public.audit TO guest",
        "GRANT USAGE ON SEQUENCE public.revisions TO guest",
    ] {
        assert!(text.contains(grant), "{grant}: {text}");
    }
    assert!(text.ends_with("or let guest own the tables by `REASSIGN OWNED`"), "{text}");
    assert!(!text.contains('\n') && !text.contains("SELECT"), "{text}");
    database.query(grants(&text)).unwrap();
    inspect(&guest).await.unwrap();
    let store = PostgresStore::open(guest).await.unwrap();
    store.connect(connect("acme", 1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_right_that_is_missing_is_named_alone() {
    let database = database();
    let guest = options(&with_what_is_asked_for(&database).await);
    PostgresStore::open(guest.clone()).await.unwrap();
    for (taken, given) in [
        ("UPDATE ON store", "UPDATE ON public.store"),
        ("DELETE ON tokens", "DELETE ON public.tokens"),
        ("SELECT ON jeton_migrations", "SELECT ON public.jeton_migrations"),
        ("USAGE ON SEQUENCE revisions", "USAGE ON SEQUENCE public.revisions"),
    ] {
        database.query(&format!("REVOKE {taken} FROM {GUEST}")).unwrap();
        let text = refusal(&guest).await;
        assert_eq!(grants(&text), format!("GRANT {given} TO {GUEST}"), "{text}");
        database.query(grants(&text)).unwrap();
    }
    PostgresStore::open(guest).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_may_make_no_tables_is_told_so_before_and_when_it_tries() {
    let database = PgCluster::shared().unwrap().empty_database().unwrap();
    let guest = options(&as_a_guest(&database));
    for refused in [
        PostgresStore::open(guest.clone()).await.map(drop).unwrap_err(),
        inspect(&guest).await.map(drop).unwrap_err(),
    ] {
        let text = refused.to_string();
        assert!(text.contains("lacks a right") && text.contains("OWNER TO guest"), "{text}");
    }
    // Who leaves that to somebody else is told what is lacking.
    let cautious = PostgresOptions { migrate: false, ..guest };
    assert!(inspect(&cautious).await.unwrap().missing_migrations > 0);
    let refused = PostgresStore::open(cautious).await.unwrap_err().to_string();
    assert!(refused.contains("lacks migration 1 (keep): migrate it"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_may_use_no_schema_is_told_so() {
    let database = database();
    let guest = options(&with_what_is_asked_for(&database).await);
    database.query("REVOKE ALL ON SCHEMA public FROM PUBLIC").unwrap();
    let text = refusal(&guest).await;
    assert!(text.contains("may use no schema of postgres://guest@"), "{text}");
    database.query(grants(&text)).unwrap();
    PostgresStore::open(guest).await.unwrap();
}
