//! The entry point to everything that the keeper does. What its methods do is in the folders.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jeton_core::audit::Actor;
use jeton_core::entropy::Entropy;
use jeton_core::id::{ConnectionName, ConsentId, NodeId};
use jeton_core::keep::attempt::Attempt;
use jeton_core::keep::ports::{AttemptFilter, BackgroundTask, NodeStore, OperatorCommand, StoreError};
use jeton_core::keep::provider::{CallbackParams, Definition, Injection};
use jeton_core::seal::Fingerprint;
use jeton_core::secret::Secret;
use jeton_core::time::{Clock, Timestamp};

use crate::background::{BackgroundTasks, Periodic, Step};
use crate::consent::error::ConsentError;
use crate::consent::exchange::Consented;
use crate::consent::link::{AuthorizationRedirect, ConsentLink, Consents, LinkPreview};
use crate::consent::progress::ConsentStatus;
use crate::consent::reread;
use crate::consent::terminal::{PastedAnswer, TerminalConsent};
use crate::definitions::Definitions;
use crate::error::TokenError;
use crate::installation::Installation;
use crate::lifecycle::Lifecycle;
use crate::memory::apply::Memory;
use crate::memory::follow::FollowChanges;
use crate::memory::high_water::Hold;
use crate::memory::load::LoadAll;
use crate::node::Node;
use crate::operator::commands::Operator;
use crate::operator::connection_check::{ConnectionCheck, ConnectionSetup};
use crate::operator::replace::Replaced;
use crate::operator::revoke::Revocation;
use crate::operator::status::{ProviderOutage, Status};
use crate::outbound::discovery::Discovery;
use crate::outbound::exchange::Outbound;
use crate::peers::heartbeat::{Heartbeats, Peers};
use crate::peers::peer_liveness::PeerLiveness;
use crate::peers::unavailable::UnavailableEndpoints;
use crate::refresh::reconciler::Reconciler;
use crate::refresh::run::Refresher;
use crate::refresh::spend::Spender;
use crate::refresh::start_connections::StartConnections;
use crate::refresh::store_writer::StoreWriter;
use crate::settings::Settings;
use crate::spill::slots::SpillSlots;
use crate::store_access::{Ports, StoreAccess, VaultError};
use crate::store_time::StoreTime;
use crate::tokens::api_call::{ApiVerdict, Call};
use crate::tokens::early_expiry::EarlyExpiryTracker;
use crate::tokens::get::Tokens;
use crate::tokens::request::{Connected, Grant, RefreshMode, Refreshed, Token, TokenRequest};
use crate::tokens::single_flight::SingleFlight;
use crate::tokens::wait::Waiters;

/// How often the store is asked what time it is.
const CLOCK_PERIOD: Duration = Duration::from_secs(5);

/// How often the spill slots are read through.
const SPILL_PERIOD: Duration = Duration::from_secs(2);

/// Gives living tokens, and keeps them alive. Cheap to clone; all clones are one vault.
#[derive(Clone, Debug)]
pub struct Vault {
    parts: Arc<Parts>,
}

#[derive(Debug)]
struct Parts {
    node: Arc<Node>,
    definitions: Arc<Definitions>,
    store: Arc<StoreAccess>,
    memory: Arc<Memory>,
    writer: Arc<StoreWriter>,
    refresher: Arc<Refresher>,
    tokens: Arc<Tokens>,
    consents: Consents,
    operator: Operator,
    heartbeats: Arc<Heartbeats>,
    lifecycle: Arc<Lifecycle>,
    background: Arc<BackgroundTasks>,
}

impl Parts {
    #[expect(clippy::too_many_lines, reason = "it lists the parts and what each of them takes")]
    fn new(
        ports: Ports,
        mut installation: Installation,
        definitions: BTreeMap<ConnectionName, Definition>,
        settings: Settings,
        clock: Arc<StoreTime>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, VaultError> {
        let slots = SpillSlots::open(&installation.data_dir, settings.spill_slots)
            .map_err(|source| slots_unusable(&installation.data_dir, &settings, source))?;
        let lifecycle = Arc::new(Lifecycle::default());
        let definitions = Arc::new(Definitions::new(definitions, &settings, &(Arc::clone(&clock) as _)));
        let store = Arc::new(StoreAccess::new(ports, &mut installation, &settings));
        let node = Arc::new(Node {
            id: NodeId::generate(clock.now(), &*entropy),
            data_dir: installation.data_dir,
            host: installation.node_host,
            sealer: installation.sealer,
            settings,
            clock,
            entropy,
        });
        let memory = Arc::new(Memory::new(Arc::clone(&node), Arc::clone(&store), Arc::clone(&lifecycle)));
        let writer = Arc::new(StoreWriter {
            node: Arc::clone(&node),
            store: Arc::clone(&store),
            memory: Arc::clone(&memory),
            lifecycle: Arc::clone(&lifecycle),
            slots,
        });
        let spender = Arc::new(Spender {
            node: Arc::clone(&node),
            store: Arc::clone(&store),
            memory: Arc::clone(&memory),
            writer: Arc::clone(&writer),
            outbound: Arc::new(Outbound::new(Arc::clone(&node))),
            discovery: Discovery::new(
                &node.settings.outbound,
                Arc::clone(&node.clock) as _,
                node.data_dir.clone(),
            ),
            lifecycle: Arc::clone(&lifecycle),
        });
        let liveness = Arc::new(PeerLiveness::default());
        let refresher = Arc::new(Refresher {
            node: Arc::clone(&node),
            definitions: Arc::clone(&definitions),
            store: Arc::clone(&store),
            memory: Arc::clone(&memory),
            spender: Arc::clone(&spender),
            peers: Arc::clone(&liveness),
            lifecycle: Arc::clone(&lifecycle),
            running: Arc::new(SingleFlight::default()),
        });
        let tokens = Arc::new(Tokens {
            node: Arc::clone(&node),
            definitions: Arc::clone(&definitions),
            store: Arc::clone(&store),
            memory: Arc::clone(&memory),
            refresher: Arc::clone(&refresher),
            lifecycle: Arc::clone(&lifecycle),
            early_expiry: EarlyExpiryTracker::new(Arc::clone(&node.clock) as _),
            waiters: Waiters::new(node.settings.waiters),
        });
        let consents = Consents {
            node: Arc::clone(&node),
            definitions: Arc::clone(&definitions),
            store: Arc::clone(&store),
            lifecycle: Arc::clone(&lifecycle),
            spender: Arc::clone(&spender),
        };
        let unavailable = Arc::new(UnavailableEndpoints::new(Arc::clone(&definitions)));
        let operator = Operator {
            node: Arc::clone(&node),
            definitions: Arc::clone(&definitions),
            store: Arc::clone(&store),
            memory: Arc::clone(&memory),
            tokens: Arc::clone(&tokens),
            spender,
            unavailable: Arc::clone(&unavailable),
        };
        let background = Arc::new(BackgroundTasks::new(Arc::clone(&node), Arc::clone(&lifecycle)));
        let heartbeats = Arc::new(Heartbeats {
            node: Arc::clone(&node),
            definitions: Arc::clone(&definitions),
            store: Arc::clone(&store),
            liveness,
            unavailable,
            lifecycle: Arc::clone(&lifecycle),
            background: Arc::clone(&background),
        });
        Ok(Self {
            node,
            definitions,
            store,
            memory,
            writer,
            refresher,
            tokens,
            consents,
            operator,
            heartbeats,
            lifecycle,
            background,
        })
    }
}

fn slots_unusable(data_dir: &Path, settings: &Settings, source: io::Error) -> VaultError {
    VaultError::SpillSlots { data_dir: data_dir.to_owned(), mib: settings.spill_slots * 2, source }
}

impl Parts {
    /// Offers what lies in spill slots to the store, and reads the kept replies to exchanges until it got through once: the
    /// provider files are as they are until the process ends.
    fn return_spilled(self: &Arc<Self>) -> impl Step + use<> {
        let (parts, read) = (Arc::clone(self), Arc::new(AtomicBool::new(false)));
        let step = move || {
            let (parts, read) = (Arc::clone(&parts), Arc::clone(&read));
            async move {
                let returned = parts.writer.return_spilled().await;
                if !read.load(Ordering::Relaxed) {
                    let got_through =
                        reread::read_kept_replies(&parts.consents.spender, &parts.definitions).await;
                    read.store(got_through, Ordering::Relaxed);
                }
                returned
            }
        };
        Periodic { period: SPILL_PERIOD, step }
    }
}

impl Parts {
    /// Learns what time it is by the clock of the store. It fails where the clock of this node is off from that: then
    /// whoever looks at the nodes sees by how much.
    fn compare_clocks(self: &Arc<Self>) -> impl Step + use<> {
        let parts = Arc::clone(self);
        let step = move || {
            let parts = Arc::clone(&parts);
            async move {
                let clock = &parts.node.clock;
                let (before, asked) = (clock.node_clock(), clock.uptime());
                // A store that does not answer is told of by those who need it.
                let Ok(reading) = parts.store.ports.feed.clock().await else { return Ok(()) };
                clock.learn(reading.now, asked);
                clock.warning(reading.now, before).map_or(Ok(()), Err)
            }
        };
        Periodic { period: CLOCK_PERIOD, step }
    }
}

impl Vault {
    /// Opens a vault over a store, and gives the store what lies in spill slots. Nothing is spent. `clock` is that of this
    /// machine; lives, leases and due times go by the clock of the store.
    ///
    /// # Errors
    /// The spill slots cannot be read, or the store does not answer.
    pub async fn open(
        ports: Ports,
        installation: Installation,
        definitions: BTreeMap<ConnectionName, Definition>,
        settings: Settings,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, VaultError> {
        let asked = clock.uptime();
        let reading = ports.feed.clock().await?;
        let clock = Arc::new(StoreTime::new(clock, reading, asked));
        let assembled = Parts::new(ports, installation, definitions, settings, clock, entropy)?;
        // What stays is logged, and tried again once the vault is started.
        let _ = assembled.writer.return_spilled().await;
        Ok(Self { parts: Arc::new(assembled) })
    }

    /// Begins to keep every connection alive by itself, until [`Vault::drain`]: makes the spill slots, refreshes what is due, follows what others
    /// change, returns what was spilled, and reads every connection into memory ([`Vault::loaded`]).
    ///
    /// # Errors
    /// No spill slot can be made, or the store could not be asked how far it has come; nothing has begun.
    pub async fn start(&self) -> Result<(), VaultError> {
        let Parts { store, memory, background, .. } = &*self.parts;
        self.make_spill_slots()?;
        let seen = store.ports.feed.revision().await?;
        // A backup may have been put in its place since it was opened.
        if seen < store.high_water.seen() {
            store.mark_rolled_back(seen);
        }
        background.start("follow_changes", FollowChanges::new(Arc::clone(memory), seen));
        background.start("refresh_due", Reconciler::new(Arc::clone(&self.parts.refresher)));
        background.start("compare_clocks", self.parts.compare_clocks());
        background.start("return_spilled", self.parts.return_spilled());
        background.start("load_connections", LoadAll::new(Arc::clone(memory)));
        background.start("start_connections", StartConnections(Arc::clone(&self.parts.refresher)));
        Ok(())
    }

    /// Makes the spill slots that do not exist yet. [`Vault::start`] does so; without it each is made when it is first needed.
    ///
    /// # Errors
    /// None of them can be made.
    pub fn make_spill_slots(&self) -> Result<(), VaultError> {
        let Parts { node, writer, .. } = &*self.parts;
        writer.slots.allocate().map_err(|source| slots_unusable(&node.data_dir, &node.settings, source))
    }

    /// Returns once every connection has been read into memory. Until then, whoever asks for one that was not read yet
    /// waits for one read of the store.
    pub async fn loaded(&self) {
        self.parts.memory.loaded.wait().await;
    }

    /// Begins no new attempt, waits for those under way, and leaves what the store does not take in its spill slots.
    pub async fn drain(&self) {
        self.parts.lifecycle.drain(self.parts.node.settings.drain).await;
    }

    /// Runs `step` at once and then in this period as a background task of the vault, until [`Vault::drain`].
    pub fn run_periodically<F, Fut>(&self, name: &'static str, period: Duration, step: F)
    where
        F: FnMut() -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.parts.background.start(name, Periodic { period, step });
    }

    /// What time it is for people: the clock of the store, or the civil clock of this machine where the store lives on it.
    pub fn now(&self) -> Timestamp {
        self.parts.node.clock.readings().civil
    }

    /// The clock of the store, as this process knows it. It decides when what the store holds expires.
    pub fn store_clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.parts.node.clock) as _
    }

    /// How each background task of this process does.
    pub fn background_tasks(&self) -> Vec<BackgroundTask> {
        self.parts.background.list()
    }

    /// The names that are defined, in order.
    pub fn names(&self) -> Vec<ConnectionName> {
        self.parts.definitions.all().map(|def| def.name.clone()).collect()
    }

    /// How a connection is defined.
    ///
    /// # Errors
    /// [`TokenError::UnknownConnection`].
    pub fn definition(&self, name: &str) -> Result<&Definition, TokenError> {
        Ok(&self.parts.definitions.get(name)?.definition)
    }

    /// Whether nothing may be spent.
    pub fn on_hold(&self) -> bool {
        self.hold().is_some()
    }

    /// Why nothing may be spent, where that is so.
    pub fn hold(&self) -> Option<Hold> {
        self.parts.store.hold()
    }

    /// The fingerprint by which records name a token.
    pub fn fingerprint(&self, token: &Secret) -> Fingerprint {
        self.parts.node.sealer.fingerprint(token)
    }

    /// Asks the store whether it answers, and whether it took what was written last: the heartbeat of an announced vault, every
    /// few seconds. A full disk can be read. Also sees that the data directory is there.
    ///
    /// # Errors
    /// [`TokenError::Store`] when not.
    pub async fn ping(&self) -> Result<(), TokenError> {
        self.parts.store.ports.feed.revision().await?;
        self.parts.store.check_data_dir()?;
        match self.parts.heartbeats.failure() {
            Some(error) => {
                Err(TokenError::Store { message: format!("the store cannot be written: {error}") })
            }
            None => Ok(()),
        }
    }

    /// A living access token, from memory wherever it lives long enough.
    pub async fn token(&self, name: &str, request: TokenRequest) -> Result<Token, TokenError> {
        Ok(self.parts.tokens.living(name, request).await?.token)
    }

    /// A caller's token was refused by the API: gives a newer one if there is one, else refreshes, at most once.
    pub async fn reject(
        &self,
        name: &str,
        fingerprint: Fingerprint,
        request: TokenRequest,
    ) -> Result<Token, TokenError> {
        Ok(self.parts.tokens.rejected(name, fingerprint, request, false).await?.0.token)
    }

    /// What a call to the API of a connection is made with: [`Vault::token`], and where it goes.
    ///
    /// # Errors
    /// As [`Vault::token`] says; [`TokenError::Definition`] where nobody says where the API is.
    pub async fn call(&self, name: &str, request: TokenRequest) -> Result<Call, TokenError> {
        self.parts.tokens.call(name, request).await
    }

    /// [`Vault::token`], and what a call that the caller makes itself carries, and where, as the provider's file says.
    ///
    /// # Errors
    /// As [`Vault::token`] says; [`TokenError::Definition`] where the token cannot be put there.
    pub async fn injections(
        &self,
        name: &str,
        request: TokenRequest,
    ) -> Result<(Token, Vec<Injection>), TokenError> {
        self.parts.tokens.injections(name, request).await
    }

    /// Notes what the API said to the token of a call. Whoever makes calls says it of each: it tells a token that expired early
    /// from an API that refuses for another reason.
    pub fn note_verdict(&self, name: &str, call: &Call, verdict: ApiVerdict) {
        self.parts.tokens.note_verdict(name, call, verdict);
    }

    /// The API refused the token of a call, which was noted: what the same call is made with now, as [`Vault::reject`] gives it.
    ///
    /// # Errors
    /// As [`Vault::reject`] says; [`TokenError::Definition`] where nobody says where the API is.
    pub async fn replace_refused(
        &self,
        name: &str,
        refused: &Call,
        request: TokenRequest,
    ) -> Result<Call, TokenError> {
        self.parts.tokens.replace_refused(name, refused, request).await
    }

    /// Refreshes a connection because somebody asks for it, whom the refresh log names.
    pub async fn refresh(&self, name: &str, mode: RefreshMode, by: &Actor) -> Result<Refreshed, TokenError> {
        self.parts.operator.refresh(name, mode, by).await
    }

    /// Takes a grant over untried where a connection has none, or a dead one with another refresh token: for programs that have
    /// their first refresh token in their settings.
    ///
    /// # Errors
    /// As [`Vault::connect`] says, where it is not unchanged.
    pub async fn seed(&self, name: &str, grant: Grant, by: &Actor) -> Result<Connected, TokenError> {
        self.parts.operator.seed(name, grant, by).await
    }

    /// Puts a grant in place of the one that a connection has. Where that one works, the new refresh token is spent first, and
    /// nothing is changed unless it brings a token set. Who orders it is audited.
    ///
    /// # Errors
    /// The grant cannot be one of this provider, was spent before or belongs to another connection; nothing may be spent now.
    pub async fn replace(&self, name: &str, grant: Grant, by: &Actor) -> Result<Replaced, TokenError> {
        self.parts.operator.replace(name, grant, by).await
    }

    /// Takes a grant over untried, whatever the connection has; or makes a connection whose provider acquires its own. Who
    /// orders it is audited.
    pub async fn connect(&self, name: &str, grant: Grant, by: &Actor) -> Result<Connected, TokenError> {
        self.parts.operator.connect(name, grant, by).await
    }

    /// Gives the grant of a connection up. Where its provider can revoke it, it is asked once to do so, for 5 s at most. Who orders
    /// it is audited.
    pub async fn disconnect(&self, name: &str, by: &Actor) -> Result<Revocation, TokenError> {
        self.parts.operator.disconnect(name, by).await
    }

    /// Pauses, resumes or disconnects. Who orders it is audited.
    pub async fn administer(&self, name: &str, act: OperatorCommand, by: &Actor) -> Result<(), TokenError> {
        self.parts.operator.administer(name, act, by).await
    }

    /// The status of one connection, defined or orphaned.
    pub async fn status(&self, name: &str) -> Result<Status, TokenError> {
        self.parts.operator.status(name).await
    }

    /// Up to `limit` connections by name after `after`: what is defined, and what is stored without a definition.
    pub async fn statuses(
        &self,
        after: Option<&ConnectionName>,
        limit: usize,
    ) -> Result<Vec<Status>, TokenError> {
        self.parts.operator.statuses(after, limit).await
    }

    /// The status of every connection that needs a person or waits for one, as memory holds it once the vault was started:
    /// what is not connected, dead, interrupted, or stored without a definition. By name; the store is not asked.
    pub fn needing_attention(&self) -> Vec<Status> {
        self.parts.operator.needing_attention()
    }

    /// Up to `limit` attempts, newest first, with their status as it is now.
    pub async fn attempts(&self, filter: &AttemptFilter, limit: usize) -> Result<Vec<Attempt>, TokenError> {
        self.parts.operator.attempts(filter, limit).await
    }

    /// How a connection is set up, with what was captured since.
    ///
    /// # Errors
    /// There is no such connection, or the store cannot be reached.
    pub async fn connection_setup(&self, name: &str) -> Result<ConnectionSetup, TokenError> {
        self.parts.operator.connection_setup(name).await
    }

    /// Checks what is stored of a connection. Nothing is refreshed, and nothing is asked of the provider.
    ///
    /// # Errors
    /// There is no such connection, it has no token set, or the store cannot be reached.
    pub async fn check_connection(&self, name: &str) -> Result<ConnectionCheck, TokenError> {
        self.parts.operator.check_connection(name).await
    }

    /// Whether the grant of a connection outlives its access token: the provider gave a refresh token, or new tokens can
    /// be acquired without one.
    ///
    /// # Errors
    /// There is no such connection, or the store cannot be reached.
    pub async fn renews(&self, name: &str) -> Result<bool, TokenError> {
        self.parts.operator.renews(name).await
    }

    /// Whether a person gives the grant of this connection in a browser.
    pub fn asks_for_consent(&self, name: &str) -> Result<bool, TokenError> {
        Ok(self.definition(name)?.asks_for_consent())
    }

    /// Makes a link for the person who consents to a connection. Who orders it is audited.
    pub async fn invite(&self, name: &str, by: &Actor) -> Result<ConsentLink, ConsentError> {
        self.parts.consents.invite(name, by).await
    }

    /// What a link asks for. Everything is checked that opening it checks, and the link stays as it is.
    pub async fn preview_link(&self, ticket: &Secret) -> Result<LinkPreview, ConsentError> {
        self.parts.consents.preview_link(ticket).await
    }

    /// Opens a link: it can be opened once. The browser is to be sent to the provider with what this answers.
    pub async fn open_link(&self, ticket: &Secret) -> Result<AuthorizationRedirect, ConsentError> {
        self.parts.consents.open_link(ticket).await
    }

    /// Takes the answer that a provider sent a browser back with. The connection is made when this answers; a browser
    /// that goes away meanwhile changes nothing.
    pub async fn take_callback(
        &self,
        params: CallbackParams,
        browser: Option<&Secret>,
    ) -> Result<Consented, ConsentError> {
        self.parts.consents.take_callback(params, browser).await
    }

    /// Begins a consent without a browser at hand. Who orders it is audited.
    pub async fn start_terminal_consent(
        &self,
        name: &str,
        by: &Actor,
    ) -> Result<TerminalConsent, ConsentError> {
        self.parts.consents.start_terminal_consent(name, by).await
    }

    /// Takes the answer that a person brought to the terminal. What does not say that it answers this very consent is
    /// refused with [`ConsentError::Stateless`], consumes nothing, and may be brought again.
    pub async fn finish_terminal_consent(
        &self,
        id: ConsentId,
        answer: PastedAnswer,
    ) -> Result<Consented, ConsentError> {
        self.parts.consents.finish_terminal_consent(id, answer).await
    }

    /// How far the consent with that id has come.
    pub async fn consent(&self, id: ConsentId) -> Result<Option<ConsentStatus>, TokenError> {
        self.parts.consents.consent(id).await
    }

    /// How far the consent with that ticket has come.
    pub async fn consent_by_ticket(&self, ticket: &Secret) -> Result<Option<ConsentStatus>, TokenError> {
        self.parts.consents.consent_by_ticket(ticket).await
    }

    /// How far the consent has come whose state has this [`fingerprint`](Self::fingerprint).
    pub async fn consent_by_state(&self, state: Fingerprint) -> Result<Option<ConsentStatus>, TokenError> {
        self.parts.consents.consent_by_state(state).await
    }

    /// The latest consent of each connection, by name: up to `limit` after `after`.
    pub async fn consents(
        &self,
        after: Option<&ConnectionName>,
        limit: usize,
    ) -> Result<Vec<ConsentStatus>, TokenError> {
        self.parts.consents.consents(after, limit).await
    }

    /// Announces this node to the others on its store, under the name that people call it, until [`Vault::drain`].
    /// Differences to other nodes are logged, each once.
    pub fn announce(&self, nodes: Arc<dyn NodeStore>, name: &str) {
        self.parts.heartbeats.announce(nodes, name);
    }

    /// The token endpoints that do not answer this process, or a peer, as its last heartbeat said. A vault that is not announced
    /// learns of peers by [`Vault::peers`].
    pub fn unavailable_endpoints(&self) -> Vec<ProviderOutage> {
        self.parts.operator.unavailable()
    }

    /// The other nodes that are alive, and what people should know of them.
    ///
    /// # Errors
    /// The store could not be asked.
    pub async fn peers(&self, nodes: &dyn NodeStore) -> Result<Peers, StoreError> {
        self.parts.heartbeats.peers(nodes).await
    }
}
