//! A provider and an API behind TLS, certified by an authority that only the settings name.

use std::net::SocketAddr;

use jeton_gateway::Settings;
use jeton_keeper::{OutboundSettings, Roots, TokenRequest};
use jeton_testkit::TestAuthority;

use crate::fixture::{Fixture, Options, echo_api, error_code};

fn roots(authority: &TestAuthority) -> Roots {
    Roots::from_pem(authority.pem().as_bytes()).unwrap()
}

fn trusting(roots: Roots) -> Options {
    Options {
        settings: Settings {
            outbound: OutboundSettings { roots, ..OutboundSettings::default() },
            ..Settings::default()
        },
        ..Options::default()
    }
}

#[tokio::test]
async fn an_api_that_a_private_authority_certifies_is_called_only_where_it_is_trusted() {
    let (authority, other) = (TestAuthority::new(), TestAuthority::new());
    let api = echo_api().await;
    let base = format!("https://{}", authority.tls_in_front_of(api.address(), "127.0.0.1").await.address);
    let fixture = Fixture::with_options(&base, trusting(roots(&authority))).await;
    let token = fixture.access_token().await;
    for _ in 0..2 {
        assert_eq!(fixture.get("/x").await.status, 200);
    }
    assert!(
        api.received().len() == 2 && api.received().iter().all(|request| request.bearer() == token.reveal())
    );

    for roots in [roots(&other), Roots::default()] {
        let fixture = Fixture::with_options(&base, trusting(roots)).await;
        let reply = fixture.get("/x").await;
        assert_eq!(error_code(&reply, 502), "UPSTREAM_UNREACHABLE");
        assert!(reply.text().contains("no TLS with `127.0.0.1`"), "{}", reply.text());
    }
    assert_eq!(api.received().len(), 2, "no request was sent without trust");
}

#[tokio::test]
async fn a_token_endpoint_that_a_private_authority_certifies_is_trusted_by_the_same_setting() {
    let authority = TestAuthority::new();
    for (roots, trusted) in [(roots(&authority), true), (Roots::default(), false)] {
        let emulator = jeton_emulator::Emulator::start(jeton_emulator::Settings::default()).await.unwrap();
        let inside: SocketAddr = emulator.base_url().strip_prefix("http://").unwrap().parse().unwrap();
        let token_url =
            format!("https://{}/token", authority.tls_in_front_of(inside, "127.0.0.1").await.address);
        let options = Options { token_url: Some(token_url), ..trusting(roots) };
        let fixture = Fixture::with_emulator(emulator, "http://127.0.0.1:1", options).await;
        let given = fixture.vault.token("acme", TokenRequest::default()).await;
        assert_eq!(given.is_ok(), trusted, "{given:?}");
        assert_eq!(fixture.emulator.stats().accepted, u64::from(trusted));
    }
}

#[tokio::test]
async fn the_certificate_must_be_for_the_host_that_is_called() {
    let authority = TestAuthority::new();
    let api = echo_api().await;
    let front = authority.tls_in_front_of(api.address(), "127.0.0.1").await;
    let fixture = Fixture::with_options(
        &format!("https://localhost:{}", front.address.port()),
        trusting(roots(&authority)),
    )
    .await;
    let reply = fixture.get("/x").await;
    assert_eq!(error_code(&reply, 502), "UPSTREAM_UNREACHABLE");
    assert!(api.received().is_empty());
}
