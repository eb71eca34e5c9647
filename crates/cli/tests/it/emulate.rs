//! Providers played from their files: `jeton provider emulate`, and every provider of the catalogue kept alive.

use std::fmt::Write as _;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use std::io::{BufRead as _, BufReader};

use jeton_core::keep::provider::{Catalogue, Definition, Emulation, Provider, Setup, Step};
use jeton_core::secret::Secret;
use jeton_emulator::{Emulator, RequestOutcome, Settings};
use jeton_testkit::{Client, TestInstallation, jeton_binary};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::fixture::{PATIENCE, error_line, run};

/// How long access tokens live where the file leaves it open.
const LIFE: Duration = Duration::from_secs(2);

/// How many refreshes every connection must see.
const REFRESHES: u64 = 10;

/// One provider, played.
struct Played {
    provider: Arc<Provider>,
    setup: Setup,
    definition: Definition,
    emulator: Emulator,
    /// Whether its file says that tokens live longer than anybody waits here.
    lasts: bool,
}

impl Played {
    /// Each has a seed of its own: equal tokens would be taken for one grant that two connections want to spend.
    async fn of(provider: &Arc<Provider>, seed: u64) -> Self {
        let setup = provider.example().unwrap();
        let definition = provider.define(setup.clone()).unwrap();
        let emulation = Emulation::of(definition.clone());
        let lasts = emulation.access_life(LIFE) != Some(LIFE);
        let settings = Settings { seed, ..Settings::for_provider(emulation, LIFE) };
        let emulator = Emulator::start(settings).await.unwrap();
        Self { provider: Arc::clone(provider), setup, definition, emulator, lasts }
    }

    fn name(&self) -> &str {
        self.provider.name().as_str()
    }

    /// Its tables in a settings file. What limits refreshes in earnest would only make the test longer.
    fn settings(&self) -> String {
        let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
        let (name, mut text) = (self.name(), String::new());
        writeln!(text, "[connections.{name}]\nprovider = \"{name}\"\npolicy = {{ budget = [] }}").unwrap();
        writeln!(text, "emulated_at = {}\n[connections.{name}.vars]", quoted(&self.emulator.base_url()))
            .unwrap();
        for (var, value) in &self.setup.vars {
            writeln!(text, "{var} = {}", quoted(value.reveal())).unwrap();
        }
        writeln!(text, "[connections.{name}.client]").unwrap();
        let client = &self.setup.client;
        for (key, value) in [
            ("id", client.id.as_deref()),
            ("secret", client.secret.as_ref().map(Secret::reveal)),
            ("redirect_uri", client.redirect_uri.as_deref()),
        ] {
            if let Some(value) = value {
                writeln!(text, "{key} = {}", quoted(value)).unwrap();
            }
        }
        text
    }

    async fn connect(&self, home: &TestInstallation) {
        let acquires = self.definition.has(Step::Acquire);
        let connect = if acquires {
            home.command(["connect", self.name()]).unwrap()
        } else {
            let token = self.emulator.mint(1).remove(0);
            home.command(["connect", self.name(), "--refresh-token-stdin"]).unwrap().stdin(token.reveal())
        };
        connect.run(PATIENCE).await.unwrap().success().unwrap();
    }

    fn refreshed(&self) -> u64 {
        self.emulator.stats().accepted
    }

    /// No request was refused, lost, sent twice or not as the file describes it.
    fn assert_spotless(&self) {
        let stats = self.emulator.stats();
        let spots =
            (stats.invalid_grant, stats.invalid_client, stats.reuse_kills, stats.overlaps, stats.lost);
        assert_eq!(spots, (0, 0, 0, 0, 0), "{}: {stats:?}", self.name());
        for record in self.emulator.records() {
            let accepted = record.accepted || record.outcome == RequestOutcome::Undecided;
            assert!(accepted, "{}: {record:?}", self.name());
        }
    }
}

/// Refreshes at once what would not be due for hours.
async fn refresh_what_lasts(client: &Client, all: &[Played]) {
    for played in all.iter().filter(|played| played.lasts && played.refreshed() < REFRESHES) {
        let path = format!("/api/v1/connections/{}/refresh", played.name());
        let reply = client.post(&path, &json!({ "force": true })).await.unwrap();
        assert_eq!(reply.status, 200, "{}: {reply:?}", played.name());
    }
}

#[tokio::test]
async fn a_connection_of_every_provider_is_kept_alive_for_ten_refreshes_against_its_own_file() {
    let mut home = TestInstallation::new().unwrap();
    home.set("keeper", "spill_slots", 32).unwrap();
    let mut all = Vec::new();
    for (seed, provider) in (1..).zip(Catalogue::builtin().iter()) {
        all.push(Played::of(provider, seed).await);
    }
    let mut settings = std::fs::read_to_string(home.settings()).unwrap();
    settings.extend(all.iter().map(Played::settings));
    home.write_settings(&settings).unwrap();
    futures_util::future::join_all(all.iter().map(|played| played.connect(&home))).await;

    let mut server = home.command(["serve"]).unwrap().serve().unwrap();
    server.wait_until_ready(PATIENCE).await.unwrap();
    let raw = home.service_token("operator", &["admin"]).await.unwrap();
    let admin = Client::new(&server.base_url()).with_header("x-service-token", &raw);
    let begun = Instant::now();
    while all.iter().any(|played| played.refreshed() < REFRESHES) {
        let counts: Vec<_> = all.iter().map(|played| (played.name(), played.refreshed())).collect();
        assert!(begun.elapsed() < Duration::from_secs(30), "{counts:?}\n{}", server.output().unwrap());
        refresh_what_lasts(&admin, &all).await;
        sleep(Duration::from_millis(100)).await;
    }
    let client = server.client();
    for played in &all {
        let token = client.get(&format!("/api/v1/connections/{}/token", played.name())).await.unwrap();
        assert_eq!(token.status, 200, "{}: {token:?}", played.name());
        let access = token.json().unwrap()["access_token"].as_str().unwrap().to_owned();
        assert!(played.emulator.accepts(&access), "{}: a dead token was handed out", played.name());
    }
    server.terminate().unwrap();
    assert_eq!(server.wait(PATIENCE).await.unwrap().code(), Some(0), "{}", server.output().unwrap());
    all.iter().for_each(Played::assert_spotless);
    let states = run(&home, ["status", "--json"]).await.json().unwrap();
    for state in states.as_array().unwrap() {
        assert!(state["generation"].as_u64().unwrap() >= REFRESHES, "{state}");
        assert_eq!(state["failures"], 0, "{state}");
    }
}

/// `jeton provider emulate`, ended with the value.
struct Emulating {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Emulating {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(jeton_binary().unwrap())
            .args(["provider", "emulate", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .env_clear()
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn line(&mut self) -> String {
        self.lines.next().expect("it says more").unwrap()
    }

    fn end(mut self) -> Option<i32> {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap().code()
    }
}

#[tokio::test]
async fn what_the_command_prints_is_a_connection_that_can_be_used_at_once() {
    let home = TestInstallation::new().unwrap();
    let mut emulating = Emulating::start(&["amocrm", "--name", "acme", "--life", "1h"]);
    let mut printed = String::new();
    while !printed.ends_with("# Token requests:\n") {
        printed.push_str(&emulating.line());
        printed.push('\n');
    }
    let settings = std::fs::read_to_string(home.settings()).unwrap();
    home.write_settings(&format!("{settings}{printed}")).unwrap();
    assert_eq!(run(&home, ["config", "check"]).await.success().unwrap(), "OK (connections: 1)\n");
    let token = printed.split("echo ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    let connect = home.command(["connect", "acme", "--refresh-token-stdin"]).unwrap().stdin(token);
    connect.run(PATIENCE).await.unwrap().success().unwrap();
    run(&home, ["token", "acme"]).await.success().unwrap();
    let line = emulating.line();
    assert!(line.contains("  rotated  grant-1, generation 1"), "{line}");
    // What follows is a comment, for those who keep all of it as the file.
    home.write_settings(&format!("{settings}{printed}{line}\n")).unwrap();
    assert_eq!(run(&home, ["config", "check"]).await.success().unwrap(), "OK (connections: 1)\n");
    let doctor = run(&home, ["doctor"]).await.success().unwrap();
    assert!(doctor.contains("`acme` uses an emulated provider"), "{doctor}");
    assert_eq!(emulating.end(), Some(0));
}

#[test]
fn in_json_each_request_is_a_line_of_its_own() {
    let mut emulating = Emulating::start(&["jibit-ide", "--json", "--seed", "7"]);
    let announced: Value = serde_json::from_str(&emulating.line()).unwrap();
    assert_eq!(
        (&announced["connection"], &announced["provider"]),
        (&json!("jibit-ide"), &json!("jibit-ide"))
    );
    assert!(announced["refresh_token"].as_str().unwrap().len() > 20, "{announced}");
    assert!(announced["emulated_at"].as_str().unwrap().starts_with("http://127.0.0.1:"), "{announced}");
    assert_eq!(emulating.end(), Some(0));
}

#[tokio::test]
async fn what_cannot_be_played_is_refused_with_the_cure() {
    let home = TestInstallation::new().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let file = home.path().join("bare.toml");
    let bare = "name = 'bare'\ntitle = 'Bare'\nhosts = ['bare.example.com']\n[vars.account]\n[refresh]\nurl = \
                'https://bare.example.com/${account}'\n";
    std::fs::write(&file, bare).unwrap();
    let file = file.to_str().unwrap();
    for (arguments, code, why) in [
        (vec!["amocrn"], 1, "did you mean `amocrm`?"),
        (vec!["amocrm", "--listen", &address], 1, "is taken; give --listen another port"),
        (vec!["amocrm", "--listen", "0.0.0.0:0"], 1, "give --listen an address of this machine"),
        (vec!["amocrm", "--var", "domain=example.com"], 2, "does not match the pattern"),
        (
            vec![file],
            2,
            "vars.account: the provider `bare` cannot do without it: set it; give --var account=VALUE",
        ),
    ] {
        let all: Vec<&str> = ["provider", "emulate"].into_iter().chain(arguments).collect();
        let sentence = error_line(&home.command(all).unwrap().run(PATIENCE).await.unwrap(), code);
        assert!(sentence.contains(why), "{sentence}");
    }
}

#[tokio::test]
async fn a_connection_is_never_emulated_elsewhere_than_on_this_machine() {
    let home = TestInstallation::new().unwrap();
    for wrong in ["http://10.0.0.1:9096", "https://127.0.0.1:1", "nowhere"] {
        let settings = format!(
            "[connections.acme]\nprovider = 'amocrm'\nemulated_at = '{wrong}'\n[connections.acme.client]\nid = 'a'\nsecret \
             = 'b'\nredirect_uri = 'https://x.example.com/'\n"
        );
        home.write_settings(&settings).unwrap();
        let sentence = error_line(&run(&home, ["config", "check"]).await, 1);
        assert!(sentence.contains("jeton.toml:3: connections.acme.emulated_at: "), "{sentence}");
        assert!(sentence.contains("http://127.0.0.1:"), "{sentence}");
    }
}
