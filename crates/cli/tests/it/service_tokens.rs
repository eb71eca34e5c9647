//! Service tokens by the command line, beside servers that run.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use jeton_testkit::{Client, ServerProcess, ShiftedClock, TestInstallation, grep_tree};
use parking_lot::RwLock;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::fixture::{Fixture, PATIENCE, error_line, run};

const LIST: &str = "/api/v1/connections";

async fn serve(fixture: &Fixture) -> ServerProcess {
    let mut server = fixture.home.command(["serve"]).unwrap().serve().unwrap();
    server.wait_until_ready(PATIENCE).await.unwrap();
    server
}

fn bot(server: &ServerProcess, raw: &str) -> Client {
    Client::new(&server.base_url()).with_header("x-service-token", raw)
}

async fn status(client: &Client) -> u16 {
    client.get(LIST).await.unwrap().status.as_u16()
}

/// How long it takes until a client is refused.
async fn until_refused(client: &Client) -> Duration {
    let begun = Instant::now();
    while status(client).await != 403 {
        assert!(begun.elapsed() < PATIENCE, "it is still let in");
        sleep(Duration::from_millis(50)).await;
    }
    begun.elapsed()
}

#[tokio::test]
async fn a_token_is_made_shown_once_and_kept_as_a_hash() {
    let fixture = Fixture::new().await;
    let create = [
        "service-token",
        "create",
        "bot1",
        "--scope",
        "token:*",
        "--scope",
        "proxy:acme",
        "--expires",
        "90d",
        "--json",
    ];
    let made = fixture.run(create).await.json().unwrap();
    assert_eq!(
        (&made["name"], &made["scopes"]),
        (&"bot1".into(), &json!(["token:*", "proxy:acme"])),
        "{made}"
    );
    let raw = made["token"].as_str().unwrap();
    assert!(raw.starts_with("jts_") && raw.len() == 50, "{raw}");
    assert!(made["expires_at"].is_string() && made["id"].is_string(), "{made}");
    std::fs::remove_dir_all(fixture.home.path().join("outputs")).unwrap();
    std::fs::create_dir(fixture.home.path().join("outputs")).unwrap();
    assert_eq!(grep_tree(fixture.home.path(), raw).unwrap(), [], "nothing keeps its text");

    let listed = fixture.run(["service-token", "list", "--json"]).await.json().unwrap();
    assert_eq!((&listed[0]["id"], &listed[0]["active"]), (&made["id"], &true.into()), "{listed}");
    assert!(listed[0].get("token").is_none());
    let table = fixture.run(["service-token", "list"]).await.success().unwrap();
    assert!(
        table.contains("bot1") && table.contains("live") && table.contains("token:* proxy:acme"),
        "{table}"
    );
    let said = fixture.run(["service-token", "create", "bot2"]).await.success().unwrap();
    assert!(said.contains("shown only now") && said.contains("It never expires. Scopes: none."), "{said}");
}

#[tokio::test]
async fn who_made_rotated_and_revoked_a_token_is_on_record() {
    let fixture = Fixture::new().await;
    let server = serve(&fixture).await;
    let admin = bot(&server, &fixture.home.service_token("operator", &["admin"]).await.unwrap());
    let wanted = json!({ "name": "bot1", "scopes": ["read"] });
    let made = admin.post("/api/v1/service-tokens", &wanted).await.unwrap().json().unwrap();
    let id = made["id"].as_str().unwrap();
    let rotated =
        admin.post(&format!("/api/v1/service-tokens/{id}/rotate"), &json!({})).await.unwrap().json().unwrap();
    assert_eq!(admin.delete(&format!("/api/v1/service-tokens/{id}")).await.unwrap().status, 204);
    fixture.run(["service-token", "revoke", "bot1"]).await.success().unwrap();

    let rows = fixture.run(["audit", "bot1", "--json"]).await.json().unwrap();
    let told: Vec<_> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["deed"].as_str().unwrap(), &row["actor"], &row["details"]["token"]))
        .collect();
    let (service, shell) = (Value::from("service:operator"), rows[0]["actor"].clone());
    assert!(shell.as_str().is_some_and(|who| who.starts_with("shell:") && who.contains('@')), "{rows}");
    assert_eq!(
        told,
        [
            ("service_token.revoked", &shell, &rotated["id"]),
            ("service_token.revoked", &service, &made["id"]),
            ("service_token.rotated", &service, &rotated["id"]),
            ("service_token.created", &service, &made["id"]),
        ]
    );
    assert_eq!(rows[2]["details"]["replaces"], made["id"]);
    let table = fixture.run(["audit"]).await.success().unwrap();
    assert!(table.contains("grants read, forever") && table.contains("service:operator"), "{table}");
    assert!(table.contains(&format!("in place of {id}, which is valid until 2")), "{table}");

    // The same over HTTP, page by page.
    let page = admin.get_json("/api/v1/audit?subject=bot1&limit=3").await.unwrap();
    assert_eq!(page["items"].as_array().unwrap()[..], rows.as_array().unwrap()[..3]);
    let next = page["next"].as_str().unwrap();
    let rest = admin.get_json(&format!("/api/v1/audit?subject=bot1&before={next}")).await.unwrap();
    assert_eq!((&rest["items"], &rest["next"]), (&json!([rows[3]]), &Value::Null));
    assert_eq!(server.client().get("/api/v1/audit").await.unwrap().status, 403, "the API key is no admin");
    for wrong in ["before=x", "limit=0", "who=me"] {
        assert_eq!(admin.get(&format!("/api/v1/audit?{wrong}")).await.unwrap().status, 400, "{wrong}");
    }
    for raw in [&made["token"], &rotated["token"]] {
        let raw = raw.as_str().unwrap();
        assert!(!rows.to_string().contains(raw) && !table.contains(raw));
    }
}

#[tokio::test]
async fn the_hash_of_a_raw_token_is_what_sha256sum_prints() {
    let fixture = Fixture::new().await;
    for text in ["my-secure-bot1-token-2024", "my-secure-bot1-token-2024\n", "my-secure-bot1-token-2024\r\n"]
    {
        let hash = fixture.home.command(["service-token", "hash"]).unwrap().stdin(text);
        let printed = hash.run(PATIENCE).await.unwrap();
        assert!(printed.stderr.contains("this token can be guessed"), "{printed:?}");
        let said = printed.success().unwrap();
        assert_eq!(said, "dea244adcea81f0e1c11ce64497e369c808a1812ace2398b4a85c0b8a68b214c\n", "{text:?}");
    }
    let empty =
        fixture.home.command(["service-token", "hash"]).unwrap().stdin("\n").run(PATIENCE).await.unwrap();
    assert!(error_line(&empty, 2).contains("standard input is no token"));
}

#[tokio::test]
async fn the_old_procedure_with_a_hash_in_the_environment_works() {
    let fixture = Fixture::new().await;
    let printed =
        Command::new("sh").args(["-c", "echo -n 'my-secure-bot1-token-2024' | sha256sum"]).output().unwrap();
    // With all that sha256sum writes, as a careless `$( )` would pass it on.
    let line = String::from_utf8(printed.stdout).unwrap();
    let command = fixture.home.command(["serve"]).unwrap().env("SERVICE_TOKEN_BOT1_HASH", &line);
    let limited = "dea244adcea81f0e1c11ce64497e369c808a1812ace2398b4a85c0b8a68b214d";
    let command =
        command.env("SERVICE_TOKEN_BOT_2_HASH", limited).env("SERVICE_TOKEN_BOT_2_SCOPES", "token:acme");
    let mut server = command.serve().unwrap();
    server.wait_until_ready(PATIENCE).await.unwrap();
    let old = bot(&server, "my-secure-bot1-token-2024");
    let refused = old.get(LIST).await.unwrap().json().unwrap();
    assert_eq!(refused["code"], "SCOPE_INSUFFICIENT", "it is known, and may do nothing");
    let verified = old.get("/api/v1/verify?service=bot1").await.unwrap();
    assert_eq!(
        (verified.status.as_u16(), &verified.headers["x-jeton-service"]),
        (204, &"bot1".parse().unwrap())
    );
    assert_eq!(status(&bot(&server, "another")).await, 403);
    let wrong = old.get("/api/v1/verify?service=bot2").await.unwrap().json().unwrap();
    assert_eq!((&wrong["code"], &wrong["error"]["code"]), (&json!("WRONG_SERVICE"), &json!("WRONG_SERVICE")));
    assert_eq!(wrong["error"]["message"], wrong["detail"]);

    // Taken over into the store and revoked there, the hash of the environment counts no more.
    let hash = &line[..64];
    let made = fixture
        .run(["service-token", "create", "bot1", "--hash", hash, "--scope", "read", "--json"])
        .await
        .json()
        .unwrap();
    assert!(made.get("token").is_none(), "{made}");
    fixture.run(["service-token", "revoke", "bot1"]).await.success().unwrap();
    let begun = Instant::now();
    while old.get("/api/v1/verify").await.unwrap().status != 403 {
        assert!(begun.elapsed() < Duration::from_secs(5), "it is still let in");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn the_settings_grant_a_service_of_the_environment_what_it_keeps_in_the_store() {
    let mut fixture = Fixture::new().await;
    let hash = "dea244adcea81f0e1c11ce64497e369c808a1812ace2398b4a85c0b8a68b214c";
    let scopes =
        toml::Table::from_iter([("scopes".to_owned(), toml::Value::from(vec!["read", "token:acme"]))]);
    fixture.home.set("services", "bot1", scopes).unwrap();
    let in_environment = |words: &[&'static str]| {
        fixture.home.command(words.iter().copied()).unwrap().env("SERVICE_TOKEN_BOT1_HASH", hash)
    };
    let mut server = in_environment(&["serve"]).serve().unwrap();
    server.wait_until_ready(PATIENCE).await.unwrap();
    assert_eq!(status(&bot(&server, "my-secure-bot1-token-2024")).await, 200);

    let create = ["service-token", "create", "bot1", "--hash", hash, "--json"];
    let kept = in_environment(&create).run(PATIENCE).await.unwrap().json().unwrap();
    assert_eq!(kept["scopes"], json!(["token:acme", "read"]));
    let other = [
        "service-token",
        "create",
        "bot2",
        "--json",
        "--hash",
        "aea244adcea81f0e1c11ce64497e369c808a1812ace2398b4a85c0b8a68b214c",
    ];
    let none = in_environment(&other).run(PATIENCE).await.unwrap().json().unwrap();
    assert_eq!(none["scopes"], json!([]), "nobody granted it anything");
    assert_eq!(status(&bot(&server, "my-secure-bot1-token-2024")).await, 200);
}

#[tokio::test]
async fn what_is_wrong_in_the_environment_is_said_with_its_name_and_cure() {
    let fixture = Fixture::new().await;
    let hash = "dea244adcea81f0e1c11ce64497e369c808a1812ace2398b4a85c0b8a68b214c";
    for (variables, expected) in [
        (
            vec![("SERVICE_TOKEN_BOT1_HASH", "my-secure-bot1-token-2024")],
            "environment SERVICE_TOKEN_BOT1_HASH: is not a SHA-256",
        ),
        (vec![("SERVICE_TOKEN_BOT1_SCOPES", "read")], "set SERVICE_TOKEN_BOT1_HASH too"),
        (vec![("SERVICE_TOKEN__HASH", hash)], "the name \"\" is not usable"),
        (vec![("SERVICE_TOKEN_API-KEY_HASH", hash)], "takes the name of the API key"),
        (
            vec![("SERVICE_TOKEN_A_HASH", hash), ("SERVICE_TOKEN_B_HASH", hash)],
            "has the hash of another service",
        ),
        (
            vec![("SERVICE_TOKEN_A_HASH", hash), ("SERVICE_TOKEN_A_SCOPES", "all")],
            "the scope \"all\" is not known",
        ),
    ] {
        let check = fixture.home.command(["serve"]).unwrap();
        let check = variables.iter().fold(check, |check, (name, value)| check.env(name, value));
        let finished = check.run(PATIENCE).await.unwrap();
        let sentence = error_line(&finished, 1);
        assert!(sentence.contains(expected), "{sentence}");
        assert!(!sentence.contains("my-secure"), "{sentence}");
    }
    let show = fixture.home.command(["config", "show"]).unwrap().env("SERVICE_TOKEN_BOT1_HASH", hash);
    let shown = show.run(PATIENCE).await.unwrap().success().unwrap();
    assert!(shown.contains("SERVICE_TOKEN_BOT1_HASH") && !shown.contains(hash), "{shown}");
}

#[tokio::test]
async fn a_token_made_beside_two_servers_comes_in_at_once_and_a_revoked_one_is_refused_within_five_seconds() {
    let fixture = Fixture::new().await;
    let (one, two) = (serve(&fixture).await, serve(&fixture).await);
    let raw = fixture.home.service_token("bot1", &["read"]).await.unwrap();
    assert_eq!(status(&bot(&one, &raw)).await, 200);
    assert_eq!(status(&bot(&two, &raw)).await, 200);
    fixture.run(["service-token", "revoke", "bot1"]).await.success().unwrap();
    let (at_one, at_two) = (bot(&one, &raw), bot(&two, &raw));
    let (first, second) = tokio::join!(until_refused(&at_one), until_refused(&at_two));
    assert!(first.max(second) < Duration::from_secs(5), "{first:?} {second:?}");

    // Over HTTP it counts at once in the process that was told, and soon in the other.
    let raw = fixture.home.service_token("bot2", &["read"]).await.unwrap();
    let admin = bot(&one, &fixture.home.service_token("operator", &["admin"]).await.unwrap());
    let (at_one, at_two) = (bot(&one, &raw), bot(&two, &raw));
    assert_eq!((status(&at_one).await, status(&at_two).await), (200, 200));
    let all = admin.get_json("/api/v1/service-tokens").await.unwrap();
    let id =
        all["items"].as_array().unwrap().iter().find(|token| token["name"] == "bot2").unwrap()["id"].clone();
    let revoke = format!("/api/v1/service-tokens/{}", id.as_str().unwrap());
    assert_eq!(admin.delete(&revoke).await.unwrap().status, 204);
    assert_eq!(status(&at_one).await, 403);
    assert!(until_refused(&at_two).await < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_service_that_is_rotated_while_it_calls_two_servers_no_call_is_refused() {
    let fixture = Fixture::new().await;
    let servers = [serve(&fixture).await, serve(&fixture).await];
    let held = Arc::new(RwLock::new(fixture.home.service_token("bot1", &["read"]).await.unwrap()));
    let (over, calls) = (AtomicBool::new(false), AtomicUsize::new(0));
    let caller = |number: usize| {
        let (server, held, over, calls) = (&servers[number % 2], Arc::clone(&held), &over, &calls);
        async move {
            while !over.load(Ordering::SeqCst) {
                let raw = held.read().clone();
                let answered = bot(server, &raw).get(LIST).await.unwrap();
                assert_eq!(answered.status, 200, "{}", answered.text());
                calls.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    let rotating = async {
        for _ in 0..5 {
            let rotate = ["service-token", "rotate", "bot1", "--overlap", "1m", "--json"];
            let rotated: Value = fixture.run(rotate).await.json().unwrap();
            assert_eq!(rotated["replaces"]["successor"], rotated["id"], "{rotated}");
            *held.write() = rotated["token"].as_str().unwrap().to_owned();
        }
        over.store(true, Ordering::SeqCst);
    };
    tokio::join!(join_all((0..8).map(caller)), rotating);
    assert!(calls.load(Ordering::Relaxed) > 50, "{calls:?} calls");
}

#[tokio::test]
async fn orders_that_mean_nobody_or_too_many_are_refused_in_words() {
    let home = TestInstallation::new().unwrap();
    home.service_token("bot2", &["read"]).await.unwrap();
    for words in [["service-token", "revoke", "bot1"], ["service-token", "rotate", "bot1"]] {
        let sentence = error_line(&run(&home, words).await, 1);
        assert!(sentence.contains("the store has no service token of `bot1`"), "{sentence}");
    }
    home.service_token("bot1", &["read"]).await.unwrap();
    home.service_token("bot1", &["read"]).await.unwrap();
    let several = error_line(&run(&home, ["service-token", "rotate", "bot1"]).await, 2);
    assert!(several.contains("`bot1` has 2 tokens; give the id of one: "), "{several}");
    let id = several.rsplit(", ").next().unwrap().to_owned();
    home.command(["service-token", "revoke", &id]).unwrap().run(PATIENCE).await.unwrap().success().unwrap();
    run(&home, ["service-token", "rotate", "bot1"]).await.success().unwrap();
    let reserved = error_line(&run(&home, ["service-token", "create", "api-key"]).await, 1);
    assert!(reserved.contains("is reserved for the API key"), "{reserved}");
}

#[tokio::test]
async fn a_civil_clock_that_is_a_day_off_neither_ends_a_service_token_nor_lengthens_its_life() {
    const DAY: i64 = 24 * 3_600;
    for home in [TestInstallation::new().unwrap(), TestInstallation::on_postgres().unwrap()] {
        let clock = ShiftedClock::new().unwrap();
        let serve = home.command(["serve"]).unwrap().envs(clock.environment());
        let mut server = serve.serve().unwrap();
        server.wait_until_ready(PATIENCE).await.unwrap();
        let create = async |life: &str| {
            let create = ["service-token", "create", "bot1", "--scope", "read", "--expires", life, "--json"];
            let made = home.command(create).unwrap().envs(clock.environment()).run(PATIENCE).await.unwrap();
            bot(&server, made.json().unwrap()["token"].as_str().unwrap())
        };
        let lasting = create("1h").await;
        assert_eq!(status(&lasting).await, 200);
        clock.set(DAY).unwrap();
        assert_eq!(status(&lasting).await, 200, "its hour is not over");
        let list = home.command(["service-token", "list"]).unwrap().envs(clock.environment());
        let listed = list.run(PATIENCE).await.unwrap().success().unwrap();
        assert!(listed.contains("live") && !listed.contains("expired"), "{listed}");
        clock.set(-DAY).unwrap();
        let short = create("3s").await;
        until_refused(&short).await;
        assert_eq!(status(&lasting).await, 200);
    }
}
