//! Wrong credentials are answered slowly, by address; right ones are accepted at once.

use std::time::Duration;

use jeton_testkit::{Client, Reply, ServerProcess, TestInstallation};
use tokio::time::Instant;

use crate::fixture::{Fixture, PATIENCE};

/// How many an address may send at once.
const BURST: usize = 20;

/// Sends one request with this credential, for a client at this address.
async fn ask(server: &ServerProcess, key: &str, path: &str, client: &str) -> Reply {
    let sender = Client::new(&server.base_url()).with_header("x-api-key", key);
    sender.with_header("x-forwarded-for", client).get(path).await.unwrap()
}

async fn use_up(server: &ServerProcess, client: &str) {
    for _ in 0..BURST {
        let reply = ask(server, "wrong", "/api/v1/connections", client).await;
        assert_eq!(reply.status, 403, "{}", reply.text());
    }
}

/// The first answer that says that there were too many, and how long it took: one of them is forgiven every 3 s.
async fn slowed_down(server: &ServerProcess, path: &str, client: &str) -> (Reply, Duration) {
    for _ in 0..BURST {
        let begun = Instant::now();
        let reply = ask(server, "wrong", path, client).await;
        if reply.status == 429 {
            return (reply, begun.elapsed());
        }
        assert_eq!(reply.status, 403, "{}", reply.text());
    }
    panic!("{path} is never slow for {client}");
}

#[tokio::test]
async fn many_wrong_credentials_slow_their_address_down_and_no_right_one() {
    let (fixture, _) = Fixture::connected().await;
    let mut server = fixture.home.command(["serve"]).unwrap().serve().unwrap();
    server.wait_until_ready(PATIENCE).await.unwrap();
    use_up(&server, "").await;
    for path in ["/api/v1/connections", "/api/v1/proxy/acme/x", "/oauth/status"] {
        // An address that anybody can name frees nobody.
        let (reply, took) = slowed_down(&server, path, "198.51.100.7").await;
        assert!(took >= Duration::from_secs(1), "{path}");
        let wait: u64 = reply.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=3).contains(&wait), "{wait}");
        let body = reply.json().unwrap();
        assert_eq!(
            (&body["code"], &body["retry_after"]),
            (&"TOO_MANY_WRONG_CREDENTIALS".into(), &wait.into())
        );
    }
    assert_eq!(
        ask(&server, "wrong", "/api/v1/verify", "").await.status,
        403,
        "proxies take others for a failure"
    );
    let begun = Instant::now();
    for path in ["/api/v1/connections", "/api/v1/connections/acme/token", "/api/v1/verify"] {
        let reply = ask(&server, TestInstallation::API_KEY, path, "").await;
        assert!(reply.status.is_success(), "{path}: {}", reply.text());
    }
    let bot = fixture.home.service_token("bot", &["token:acme"]).await.unwrap();
    assert_eq!(
        ask(&server, &bot, "/api/v1/connections/acme/token", "").await.status,
        200,
        "new a moment ago"
    );
    let anonymous = Client::new(&server.base_url()).get("/api/v1/connections").await.unwrap();
    assert_eq!(anonymous.json().unwrap()["code"], "SERVICE_TOKEN_REQUIRED", "none is not a wrong one");
    assert!(begun.elapsed() < Duration::from_secs(10));

    server.terminate().unwrap();
    server.wait(PATIENCE).await.unwrap();
    let log = server.output().unwrap();
    let warnings =
        log.lines().filter(|line| line.contains("too many wrong credentials come from one address"));
    assert_eq!(warnings.count(), 2, "the first, and the count of the others: {log}");
    assert!(!log.contains("wrong\""), "{log}");
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_client_counts_for_itself() {
    let (fixture, _) = Fixture::connected().await;
    let serve = fixture.home.command(["serve"]).unwrap().env("JETON__SERVER__TRUSTED_PROXIES", "127.0.0.0/8");
    let mut server = serve.serve().unwrap();
    server.wait_until_ready(PATIENCE).await.unwrap();
    use_up(&server, "2001:db8::1").await;
    for (client, path) in [
        ("2001:db8::1", "/api/v1/connections"),
        ("2001:db8::2", "/api/v1/proxy/acme/x"),
        ("198.51.100.7, 2001:db8::2", "/api/v1/connections"),
    ] {
        slowed_down(&server, path, client).await;
    }
    for (client, path) in
        [("2001:db8:0:1::1", "/api/v1/connections"), ("198.51.100.7", "/api/v1/proxy/acme/x")]
    {
        assert_eq!(ask(&server, "wrong", path, client).await.status, 403, "{client} {path}");
    }
}

#[tokio::test]
async fn plain_http_that_other_machines_reach_is_warned_of_unless_a_proxy_is_named() {
    let (fixture, _) = Fixture::connected().await;
    let warning = "over plain HTTP";
    let doctor = async |listen: &str, proxies: &str| {
        let doctor = fixture.home.command(["doctor", "--offline"]).unwrap();
        let doctor =
            doctor.env("JETON__SERVER__LISTEN", listen).env("JETON__SERVER__TRUSTED_PROXIES", proxies);
        doctor.run(PATIENCE).await.unwrap().stdout
    };
    for (listen, proxies, warned) in [
        ("0.0.0.0:9095", "", true),
        ("[::]:9095", "", true),
        ("192.0.2.7:9095", "", true),
        ("127.0.0.2:9095", "", false),
        ("[::1]:9095", "", false),
        ("0.0.0.0:9095", "10.0.0.7", false),
    ] {
        let found = doctor(listen, proxies).await;
        assert_eq!(found.contains(warning) && found.contains(listen), warned, "{listen} {proxies}: {found}");
    }
    let wrong = doctor("127.0.0.1:9095", "proxy.example.com").await;
    assert!(wrong.contains("is neither an address nor a network"), "{wrong}");

    let serve = fixture.home.command(["serve", "--listen", "0.0.0.0:0"]).unwrap();
    let mut server = serve.serve().unwrap();
    crate::fixture::until("the warning", async || server.output().unwrap().contains(warning)).await;
    server.kill().await.unwrap();
}
