//! `jeton provider emulate`: a token endpoint that behaves as a provider file describes it, for tests.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jeton_core::entropy::{Entropy, SystemEntropy};
use jeton_core::id::ConnectionName;
use jeton_core::keep::provider::{DurationText, Emulation, Provider, Setup, Step};
use jeton_core::secret::Secret;
use jeton_emulator::{Emulator, RequestRecord, Settings};
use serde_json::{Map, Value, json};
use tokio::time::sleep;

use super::lookup::by_name_or_file;
use crate::command_error::CommandError;
use crate::error_code::ErrorCode;
use crate::output::Output;
use crate::settings::{self, LoadedSettings};
use crate::signals::Signals;

/// How often new requests are printed.
const POLL: Duration = Duration::from_millis(100);

/// How many requests are kept until they are printed.
const MOST_RECORDS: usize = 10_000;

/// Emulate a provider on this machine from its file, until SIGTERM or SIGINT
///
/// It is strict: a request must match the file, a rotating refresh token works once, and using one again revokes the grant.
/// It consents at once. It prints settings for a connection to it, and a line for each token request.
#[derive(Debug, clap::Args)]
pub(crate) struct Emulate {
    /// The provider, or the path of a provider file
    provider: String,
    /// Where to listen, on this machine
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9096")]
    listen: SocketAddr,
    /// The name of the connection [default: the name of the provider]
    #[arg(long, value_name = "NAME")]
    name: Option<ConnectionName>,
    /// A variable of the provider, in place of the value in the file's tests; may be given several times
    #[arg(long, value_name = "VARIABLE=VALUE", value_parser = pair)]
    var: Vec<(String, String)>,
    /// The life of access tokens, where the provider's replies say it
    #[arg(long, value_name = "DURATION", default_value = "1m")]
    life: DurationText,
    /// All tokens follow from this number [default: random]
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
}

fn pair(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("write the name, `=` and the value")?;
    Ok((name.trim().to_owned(), value.to_owned()))
}

impl Emulate {
    pub(super) async fn run(self, loaded: &LoadedSettings, output: Output) -> Result<(), CommandError> {
        let mut stop_signals = Signals::to_stop()?;
        let provider = by_name_or_file(&loaded.catalogue, &self.provider)?;
        let setup = self.setup(&provider, loaded);
        let definition = provider.define(setup.clone()).map_err(|error| {
            let cure = error.field.strip_prefix("vars.").map(|name| format!("; give --var {name}=VALUE"));
            CommandError::usage(format!("{error}{}", cure.unwrap_or_default()))
        })?;
        let usual = || provider.name().as_str().parse::<ConnectionName>();
        let name = match self.name {
            Some(name) => name,
            None => usual().map_err(|error| CommandError::usage(format!("{error}; give --name")))?,
        };
        let settings = Settings {
            listen: self.listen,
            seed: self.seed.unwrap_or_else(|| random_seed(&SystemEntropy)),
            max_records: MOST_RECORDS,
            ..Settings::for_provider(Emulation::of(definition.clone()), self.life.0)
        };
        let emulator = Emulator::start(settings).await.map_err(|error| listen_error(self.listen, &error))?;
        let refresh = definition.has(Step::Refresh).then(|| emulator.mint(1).remove(0));
        let emulated = Emulated { name: &name, provider: &provider, setup: &setup, emulator: &emulator };
        emulated.print_settings(refresh.as_ref(), definition.has(Step::Acquire), output)?;
        let printed = tokio::select! {
            printed = print_requests(&emulator, output) => printed,
            _ = stop_signals.next() => Ok(()),
        };
        emulator.shutdown().await;
        printed
    }

    /// The values of the file's tests, overridden by the flags.
    fn setup(&self, provider: &Arc<Provider>, loaded: &LoadedSettings) -> Setup {
        let mut setup = provider.example().unwrap_or_default();
        let given = self.var.iter().map(|(name, value)| (name.clone(), Secret::new(value.as_str())));
        setup.vars.extend(given);
        let client = &mut setup.client;
        client.id.get_or_insert_with(|| "emulated".to_owned());
        client.secret.get_or_insert_with(|| Secret::new("emulated-secret"));
        // Browsers return to this jeton, and not to the URL in the tests of the file.
        let listen =
            loaded.settings.as_ref().map_or_else(|_| SocketAddr::from(([127, 0, 0, 1], 9095)), |s| s.listen);
        let own = settings::public_callback(&loaded.values);
        client.redirect_uri = Some(own.unwrap_or_else(|| format!("http://{listen}/oauth/callback")));
        setup
    }
}

/// The emulated provider, and the connection to it.
struct Emulated<'a> {
    name: &'a ConnectionName,
    provider: &'a Provider,
    setup: &'a Setup,
    emulator: &'a Emulator,
}

impl Emulated<'_> {
    fn print_settings(
        &self,
        refresh: Option<&Secret>,
        acquires: bool,
        output: Output,
    ) -> Result<(), CommandError> {
        let Self { name, provider, setup, emulator } = self;
        let url = emulator.base_url();
        if output.json {
            let vars: Map<String, Value> =
                setup.vars.iter().map(|(name, value)| (name.clone(), value.reveal().into())).collect();
            let announced = json!({
                "connection": name,
                "provider": provider.name(),
                "emulated_at": url,
                "vars": vars,
                "client": {
                    "id": setup.client.id,
                    "secret": setup.client.secret.as_ref().map(Secret::reveal),
                    "redirect_uri": setup.client.redirect_uri,
                },
                "refresh_token": refresh.map(Secret::reveal),
            });
            return Ok(Output::print_json_line(&announced)?);
        }
        Output::print_text(&self.settings_text(&url))?;
        if acquires {
            Output::print_line(&format!("\n# It needs no grant:\n#   jeton connect {name}"))?;
        }
        if let Some(refresh) = refresh {
            let refresh = refresh.reveal();
            Output::print_line(&format!(
                "\n# With a refresh token:\n#   echo {refresh} | jeton connect {name} --refresh-token-stdin"
            ))?;
        }
        Ok(Output::print_line("\n# Token requests:")?)
    }

    /// The tables of the connection for a settings file.
    fn settings_text(&self, url: &str) -> String {
        let Self { name, provider, setup, .. } = self;
        let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
        let key = if name.as_str().contains('.') { quoted(name.as_str()) } else { name.to_string() };
        let mut text = format!(
            "# {} is emulated at {url}. A connection to it, for jeton.toml:\n[connections.{key}]\nprovider = {}\nemulated_at = \
             {}\n",
            provider.title(),
            quoted(provider.name().as_str()),
            quoted(url)
        );
        let mut table = |title: &str, values: Vec<(&str, &str)>| {
            if !values.is_empty() {
                write!(text, "\n[connections.{key}.{title}]\n").expect("a String takes everything");
            }
            for (name, value) in values {
                writeln!(text, "{name} = {}", quoted(value)).expect("a String takes everything");
            }
        };
        table("vars", setup.vars.iter().map(|(name, value)| (name.as_str(), value.reveal())).collect());
        let client = [
            ("id", setup.client.id.as_deref()),
            ("secret", setup.client.secret.as_ref().map(Secret::reveal)),
            ("redirect_uri", setup.client.redirect_uri.as_deref()),
        ];
        table("client", client.into_iter().filter_map(|(name, value)| Some((name, value?))).collect());
        text
    }
}

/// Prints each token request after its reply.
async fn print_requests(emulator: &Emulator, output: Output) -> Result<(), CommandError> {
    let mut shown = 0;
    loop {
        sleep(POLL).await;
        let records = emulator.records();
        // In the order of arrival: later ones wait for one under way.
        let before = shown;
        for record in records.iter().filter(|record| record.sequence > before) {
            if record.finished_at.is_none() {
                break;
            }
            shown = record.sequence;
            if output.json {
                Output::print_json_line(record)?;
            } else {
                // A comment, so that the whole output can be used as the settings file.
                Output::print_line(&format!("# {}", line(record)))?;
            }
        }
    }
}

fn line(record: &RequestRecord) -> String {
    let outcome = serde_json::to_value(record.outcome).ok();
    let outcome = outcome.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut line = format!("{}  {outcome}", record.at.to_the_second());
    if let (Some(grant), Some(generation)) = (record.grant, record.generation) {
        write!(line, "  {grant}, generation {generation}").expect("a String takes everything");
    }
    if let Some(note) = &record.note {
        write!(line, "  {note}").expect("a String takes everything");
    }
    line
}

/// Random, so that two emulated providers do not issue the same tokens.
fn random_seed(entropy: &dyn Entropy) -> u64 {
    let mut bytes = [0; 8];
    entropy.fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

fn listen_error(listen: SocketAddr, error: &io::Error) -> CommandError {
    let text = match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("{listen} is taken; give --listen another port, or 127.0.0.1:0 for a free one")
        }
        _ => format!("nothing can listen at {listen}: {error}; give --listen an address of this machine"),
    };
    CommandError::new(ErrorCode::ListeningFailed, text)
}
