//! The networks that companies have: proxies, authorities of their own, servers that ask for certificates, plain http inside.

use std::fs;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::os::unix::fs::PermissionsExt as _;

use jeton_emulator::{Emulator, Settings};
use jeton_testkit::{ConnectionSettings, JetonCommand, TestApi, TestAuthority, TestInstallation, TestProxy};

use crate::fixture::{PATIENCE, error_line};

/// A provider and an API that only TLS leads to.
struct Network {
    home: TestInstallation,
    emulator: Emulator,
    authority: TestAuthority,
}

impl Network {
    async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    async fn with(settings: Settings) -> Self {
        Self {
            home: TestInstallation::new().unwrap(),
            emulator: Emulator::start(settings).await.unwrap(),
            authority: TestAuthority::new(),
        }
    }

    fn provider(&self) -> SocketAddr {
        self.emulator.base_url().strip_prefix("http://").unwrap().parse().unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        let file = self.home.path().join(name);
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// A command that trusts the authority because the system does.
    fn command<const N: usize>(&self, arguments: [&str; N]) -> JetonCommand {
        self.write("system.pem", &self.authority.pem());
        let file = self.home.path().join("system.pem");
        self.home.command(arguments).unwrap().env("SSL_CERT_FILE", file.to_str().unwrap())
    }

    /// Stores a new grant for `acme`. Nothing is sent for it.
    async fn connect(&self) {
        let token = self.emulator.mint(1).remove(0);
        let connect = self.command(["connect", "acme", "--refresh-token-stdin"]);
        connect.stdin(&format!("{}\n", token.reveal())).run(PATIENCE).await.unwrap().success().unwrap();
    }
}

fn connection(token_url: &str, api_base: &str) -> ConnectionSettings {
    ConnectionSettings::oauth2(token_url, api_base, "emulated", "emulated-secret")
}

const REFRESH: [&str; 5] = ["refresh", "--connection", "acme", "--force", "--sync"];

#[tokio::test]
async fn what_the_system_trusts_is_trusted() {
    let mut network = Network::new().await;
    let front = network.authority.tls_in_front_of(network.provider(), "127.0.0.1").await;
    let token_url = format!("https://{}/token", front.address);
    network.home.add_connection("acme", connection(&token_url, "http://127.0.0.1:1")).unwrap();
    network.connect().await;
    let refused = network.home.command(REFRESH).unwrap().run(PATIENCE).await.unwrap();
    assert_eq!(refused.code, Some(1), "{refused:?}");
    network.command(REFRESH).run(PATIENCE).await.unwrap().success().unwrap();
    assert_eq!(network.emulator.stats().accepted, 1);
}

#[tokio::test]
async fn token_endpoints_apis_and_doctor_go_through_the_proxy_of_the_environment() {
    let mut network = Network::new().await;
    let sso = network.authority.tls_in_front_of(network.provider(), "sso.nowhere.test").await;
    let api = TestApi::answering(|_| hyper::Response::new(String::from("called"))).await;
    let api_front = network.authority.tls_in_front_of(api.address(), "api.nowhere.test").await;
    let routes = [("sso.nowhere.test:443", sso.address), ("api.nowhere.test:443", api_front.address)];
    let proxy = TestProxy::leading(&routes).await;
    let acme = connection("https://sso.nowhere.test/token", "https://api.nowhere.test");
    network.home.add_connection("acme", acme).unwrap();

    network.connect().await;
    let direct = network.command(REFRESH).run(PATIENCE).await.unwrap();
    assert!(direct.stdout.contains("`sso.nowhere.test` is not known"), "{direct:?}");

    let with_password = proxy.base_url().replace("http://", "http://me:hush%40hush@");
    let proxied = |command: JetonCommand| command.env("HTTPS_PROXY", &with_password);
    proxied(network.command(REFRESH)).run(PATIENCE).await.unwrap().success().unwrap();
    assert_eq!(network.emulator.stats().accepted, 1);
    let report = proxied(network.command(["doctor"])).run(PATIENCE).await.unwrap();
    let line = format!("answers through the proxy {}", proxy.base_url());
    assert!(report.stdout.contains(&line), "{report:?}");
    assert!(!report.stdout.contains("hush"), "{report:?}");

    let mut server = proxied(network.command(["serve"])).serve().unwrap();
    server.wait_until_ready(PATIENCE).await.unwrap();
    let answer = server.client().get("/api/v1/proxy/acme/x").await.unwrap();
    assert_eq!(answer.text(), "called");
    let asked = proxy.received();
    assert!(
        asked.iter().all(|head| head.contains("Proxy-Authorization: Basic bWU6aHVzaEBodXNo\r\n")),
        "{asked:?}"
    );
    assert!(asked.iter().any(|head| head.starts_with("CONNECT api.nowhere.test:443 ")), "{asked:?}");

    for (variable, value) in [("NO_PROXY", "nowhere.test"), ("JETON__OUTBOUND__PROXY", "none")] {
        let unproxied = proxied(network.command(REFRESH)).env(variable, value).run(PATIENCE).await.unwrap();
        assert_eq!(unproxied.code, Some(1), "{variable}: {unproxied:?}");
    }
    assert_eq!(network.emulator.stats().accepted, 1, "nothing went out without the proxy");
}

#[tokio::test]
async fn a_proxy_that_cannot_be_used_is_named_without_its_password() {
    let network = Network::new().await;
    let check = || network.command(["config", "check"]);
    let socks = check().env("ALL_PROXY", "socks5://me:hush@127.0.0.1:1080").run(PATIENCE).await.unwrap();
    assert_eq!(socks.code, Some(1), "{socks:?}");
    assert!(socks.stderr.contains("environment ALL_PROXY: a proxy of the kind `socks5`"), "{socks:?}");
    assert!(socks.stderr.contains("`none`") && !socks.stderr.contains("hush"), "{socks:?}");
    let show =
        network.command(["config", "show"]).env("JETON__OUTBOUND__PROXY", "http://me:hush@127.0.0.1:3128");
    let shown = show.run(PATIENCE).await.unwrap().success().unwrap();
    assert!(shown.contains("http://127.0.0.1:3128") && !shown.contains("hush"), "{shown}");
}

#[tokio::test]
async fn a_client_proves_itself_to_token_endpoint_and_api_by_its_certificate() {
    let mut network = Network::new().await;
    let clients = TestAuthority::new();
    let sso = network.authority.mutual_tls_in_front_of(network.provider(), "127.0.0.1", &clients).await;
    let api = TestApi::answering(|_| hyper::Response::new(String::from("called"))).await;
    let api_front = network.authority.mutual_tls_in_front_of(api.address(), "127.0.0.1", &clients).await;
    let token_url = format!("https://{}/token", sso.address);
    let acme = connection(&token_url, &format!("https://{}", api_front.address));
    network.home.add_connection("acme", acme.clone()).unwrap();
    network.connect().await;
    let refused = network.command(REFRESH).run(PATIENCE).await.unwrap();
    assert_eq!((refused.code, network.emulator.stats().requests), (Some(1), 0), "{refused:?}");

    let (certificate, key) = clients.client_certificate("acme");
    network.write("client.pem", &certificate);
    network.write("client.key", &key);
    let mut with = acme;
    with.client.insert("cert_file".to_owned(), "client.pem".to_owned());
    with.client.insert("key_file".to_owned(), "client.key".to_owned());
    network.home.add_connection("acme", with).unwrap();
    network.connect().await;
    network.command(REFRESH).run(PATIENCE).await.unwrap().success().unwrap();
    let mut server = network.command(["serve"]).serve().unwrap();
    server.wait_until_ready(PATIENCE).await.unwrap();
    assert_eq!(server.client().get("/api/v1/proxy/acme/x").await.unwrap().text(), "called");
}

#[tokio::test]
async fn faults_of_a_client_certificate_name_the_setting_and_hold_nothing_of_the_key() {
    let mut network = Network::new().await;
    let clients = TestAuthority::new();
    let ((certificate, _), (_, other)) =
        (clients.client_certificate("acme"), clients.client_certificate("other"));
    network.write("client.pem", &certificate);
    let mut check = async |key: Option<&str>, auth: Option<&str>, expected: &str| {
        let mut acme = connection("https://sso.example.com/token", "https://api.example.com");
        if let Some(auth) = auth {
            acme.vars.insert("client_auth".to_owned(), auth.to_owned());
        }
        if let Some(key) = key {
            network.write("client.key", key);
            acme.client.insert("cert_file".to_owned(), "client.pem".to_owned());
            acme.client.insert("key_file".to_owned(), "client.key".to_owned());
        }
        network.home.add_connection("acme", acme).unwrap();
        let said = error_line(&network.command(["token", "acme"]).run(PATIENCE).await.unwrap(), 1);
        assert!(said.contains("connections.acme.client.cert_file: ") && said.contains(expected), "{said}");
        assert!(!said.contains("PRIVATE"), "{said}");
    };
    check(Some(&other), None, "do not fit together").await;
    check(Some("no key"), None, "is no unencrypted private key in PEM").await;
    check(None, Some("mtls"), "is missing").await;
}

#[tokio::test]
async fn plain_http_to_a_host_of_the_private_network_needs_its_name_in_the_settings() {
    // A name of this machine that is not `localhost`, as a name in a container network.
    let machine = rustix::system::uname();
    let name = machine.nodename().to_string_lossy().to_lowercase();
    let listen = (name.as_str(), 0).to_socket_addrs().unwrap().next().unwrap();
    let mut network = Network::with(Settings { listen, ..Settings::default() }).await;
    let port = network.provider().port();
    let acme = connection(&format!("http://{name}:{port}/token"), "http://127.0.0.1:1");
    network.home.add_connection("acme", acme).unwrap();
    let said = error_line(&network.command(["status"]).run(PATIENCE).await.unwrap(), 1);
    assert!(said.contains("list it in `outbound.plain_http_hosts`"), "{said}");
    network.home.set("outbound", "plain_http_hosts", vec![name.clone()]).unwrap();
    network.connect().await;
    network.command(REFRESH).run(PATIENCE).await.unwrap().success().unwrap();
    assert_eq!(network.emulator.stats().accepted, 1);
}
