//! Writing to the store: again and again, and durable in a spill slot while the store does not take it.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use jeton_core::id::{ConnectionName, Generation};
use jeton_core::keep::connection::SealedTokens;
use jeton_core::keep::ports::{CommitAnswer, Connect, ConnectAnswer, FailExchange, StoreError};
use tokio::time::{Instant, sleep, timeout};

use crate::error::TokenError;
use crate::lifecycle::Lifecycle;
use crate::memory::apply::Memory;
use crate::node::Node;
use crate::outbound::limiter::RequestPermit;
use crate::spill::slots::{SetAside, SlotShare, SpillSlot, SpillSlots};
use crate::spill::store_write::StoreWrite;
use crate::store_access::StoreAccess;
use crate::token_crypto::{seal_tokens, unseal_tokens};

/// How long a reply that is durable nowhere waits for the store, before it goes to its spill slot as well.
const FIRST_OFFER: Duration = Duration::from_millis(500);

/// The longest pause between two offers of a spilled write to the store.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The code of a grant that another connection holds already.
pub const GRANT_HELD: &str = "held_by_another";

/// The code of a grant that came after a later one, or after the connection was given up.
pub const GRANT_SUPERSEDED: &str = "superseded";

pub(crate) fn superseded(connection: &ConnectionName) -> String {
    format!(
        "`{connection}` was connected anew or given up after this grant had been given, so it is not used"
    )
}

pub(crate) fn held_by(connection: &ConnectionName) -> String {
    format!(
        "`{connection}` holds the very refresh token that the provider gave, and two owners would spend it twice"
    )
}

/// What the store answered to a write.
#[derive(Debug)]
pub(crate) enum StoreAnswer {
    /// To a commit.
    Commit(CommitAnswer),
    /// To a failure: it is recorded.
    Fail,
    /// To a new grant; never `Moved`.
    Connect(ConnectAnswer),
}

/// Writes to the store.
#[derive(Debug)]
pub(crate) struct StoreWriter {
    pub(crate) node: Arc<Node>,
    pub(crate) store: Arc<StoreAccess>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(crate) slots: SpillSlots,
}

impl StoreWriter {
    /// A spill slot for a request, waiting for one for at most `claim_wait`: without one, nothing may be spent.
    pub(crate) async fn reserve_for(
        &self,
        permit: &mut RequestPermit<'_>,
    ) -> Result<SpillSlot<'_>, TokenError> {
        let share = SlotShare { held: permit.slots_held(), doubtful: permit.is_doubtful() };
        let slot = self.reserve_within(Some(share)).await?;
        permit.note_slot();
        Ok(slot)
    }

    /// A spill slot for a reply that is here already.
    pub(crate) async fn reserve(&self) -> Result<SpillSlot<'_>, TokenError> {
        self.reserve_within(None).await
    }

    async fn reserve_within(&self, share: Option<SlotShare<'_>>) -> Result<SpillSlot<'_>, TokenError> {
        let deadline = Instant::now() + self.node.settings.claim_wait;
        loop {
            self.store.check_data_dir()?;
            let reserved = self.slots.reserve(share).map_err(|error| TokenError::Store {
                message: format!("a spill slot cannot be reserved: {error}"),
            })?;
            match reserved {
                Some(slot) => return Ok(slot),
                None if Instant::now() >= deadline => {
                    return Err(TokenError::Busy { what: "refreshes (every spill slot is taken)" });
                }
                None => sleep(self.node.settings.poll).await,
            }
        }
    }

    /// Gives a write to the store. While the store does not take it, it is durable in its spill slot, and is offered
    /// again and again; when the process must end, it stays there for whoever looks next. On hold it is not offered at all: a
    /// store that may be the wrong one must not take the only copy of a reply.
    pub(crate) async fn write(
        &self,
        write: &StoreWrite,
        mut slot: SpillSlot<'_>,
    ) -> Result<StoreAnswer, TokenError> {
        let (name, _) = write.names();
        let mut pause = self.node.settings.poll;
        loop {
            // Looked at each time: the folder of the slots may be removed under it.
            let mut spilled = slot.is_filled();
            if let Err(held) = self.store.check_hold() {
                if !spilled {
                    spilled = fill(&mut slot, write, &held, name).await;
                }
                if spilled {
                    self.memory.serve_uncommitted(write);
                    return Err(held);
                }
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
                continue;
            }
            let error = match self.offer_in_time(write, spilled).await {
                Ok(answer) => {
                    if spilled {
                        clear(&mut slot).await;
                    }
                    if let Err(error) = self.memory.reload(name).await {
                        // It is stored; memory learns of it from the change feed.
                        tracing::debug!(%error, "the stored row could not be read back at once");
                    }
                    return Ok(answer);
                }
                Err(error) => error,
            };
            if !spilled {
                spilled = fill(&mut slot, write, &error, name).await;
            }
            if spilled && (self.lifecycle.is_closing() || !error.is_transient()) {
                return Err(error.into());
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Offers a write; as long as it is durable nowhere, a slow store is as good as none.
    async fn offer_in_time(&self, write: &StoreWrite, spilled: bool) -> Result<StoreAnswer, StoreError> {
        if spilled {
            return self.offer(write).await;
        }
        timeout(FIRST_OFFER, self.offer(write)).await.unwrap_or_else(|_| {
            Err(StoreError::Unavailable(format!("no answer within {} ms", FIRST_OFFER.as_millis())))
        })
    }

    /// Offers a write to the store once.
    async fn offer(&self, write: &StoreWrite) -> Result<StoreAnswer, StoreError> {
        let store = &self.store.ports.connections;
        match write {
            StoreWrite::Commit(commit) => store.commit(commit.clone()).await.map(StoreAnswer::Commit),
            StoreWrite::Fail(fail) => store.fail(fail.clone()).await.map(|()| StoreAnswer::Fail),
            StoreWrite::FailExchange(fail) => {
                self.store.ports.consents.fail_exchange(fail.clone()).await.map(|()| StoreAnswer::Fail)
            }
            StoreWrite::Connect(connect) => self.offer_grant(connect.clone()).await.map(StoreAnswer::Connect),
        }
    }

    /// Offers a new grant, whatever the generation has become meanwhile: the person who gave it meant it to replace what is
    /// there. What began later has the last word all the same.
    async fn offer_grant(&self, mut connect: Connect) -> Result<ConnectAnswer, StoreError> {
        loop {
            let answer = self.store.ports.connections.connect(connect.clone()).await?;
            let (code, message) = match &answer {
                ConnectAnswer::Moved { generation } => {
                    connect = sealed_for(&self.node, connect, *generation)?;
                    continue;
                }
                ConnectAnswer::HeldBy { connection } => (GRANT_HELD, held_by(connection)),
                ConnectAnswer::Superseded => (GRANT_SUPERSEDED, superseded(&connect.connection)),
                _ => return Ok(answer),
            };
            let fail = FailExchange {
                connection: connect.connection,
                attempt: connect.attempt,
                unknown: false,
                code: code.to_owned(),
                http_status: None,
                message,
                provider_message: None,
                kept_reply: None,
            };
            self.store.ports.consents.fail_exchange(fail).await?;
            return Ok(answer);
        }
    }

    /// Offers what lies in spill slots to the store once. What the store does not take stays where it is, and on hold so
    /// does everything: a store that may be the wrong one must not take the only copy of a reply.
    ///
    /// # Errors
    /// Why something stays in a slot.
    pub(crate) async fn return_spilled(&self) -> Result<(), String> {
        if self.store.hold().is_some() {
            return Ok(());
        }
        let mut result = Ok(());
        let filled =
            self.slots.filled().map_err(|error| format!("the spill slots cannot be read: {error}"))?;
        for (mut slot, write) in filled {
            let (name, attempt) = write.names();
            match self.offer(&write).await {
                Ok(_) => {
                    tracing::warn!(connection = %name, %attempt, "a spilled write is back in the store");
                    clear(&mut slot).await;
                    if let Err(error) = self.memory.reload(name).await {
                        tracing::debug!(%error, "the stored row could not be read back at once");
                    }
                }
                Err(error @ StoreError::Inconsistent { .. }) => {
                    self.set_aside(&mut slot, &write, &error).await;
                }
                Err(error) => {
                    result = Err(format!("the reply of attempt {attempt} is not taken yet: {error}"));
                    tracing::error!(connection = %name, %attempt, %error, "a spilled write is not taken yet");
                }
            }
        }
        result
    }

    /// Frees a slot whose write contradicts what is stored: it would be refused as often as it is offered.
    async fn set_aside(&self, slot: &mut SpillSlot<'_>, write: &StoreWrite, refusal: &StoreError) {
        let (name, attempt) = write.names();
        match self.slots.set_aside(slot, write).await {
            Ok(SetAside { path, count }) => tracing::error!(
                connection = %name, %attempt, error = %refusal, kept = %path.display(), kept_in_all = count,
                "CRITICAL: the store refuses a spilled write for good; it is kept, and a person must look at it"
            ),
            Err(error) => tracing::error!(
                connection = %name, %attempt, refusal = %refusal, %error,
                "a write that the store refuses for good cannot be set aside; it stays in its slot"
            ),
        }
    }
}

/// Makes a write durable before it is offered to the store; answers whether it is. What [`StoreWriter::write`] then offers may know
/// more, and is the same write to the store: it has the same id.
pub(crate) async fn spill_first(slot: &mut SpillSlot<'_>, write: &StoreWrite) -> bool {
    let filled = slot.fill(write).await;
    if let Err(error) = &filled {
        tracing::error!(connection = %write.names().0, %error, "a spill slot does not take a token reply");
    }
    filled.is_ok()
}

/// The same grant, sealed to follow `generation`.
fn sealed_for(node: &Node, connect: Connect, generation: Generation) -> Result<Connect, StoreError> {
    let Some(tokens) = &connect.tokens else { return Ok(Connect { generation, ..connect }) };
    let name = &connect.connection;
    let opened = unseal_tokens(&node.sealer, name, connect.generation.next(), tokens).map_err(|error| {
        StoreError::Refused(format!("a grant that was just sealed does not open: {error}"))
    })?;
    let sealed =
        seal_tokens(&node.sealer, &*node.entropy, name, generation.next(), &opened, tokens.obtained_at);
    let tokens = SealedTokens {
        access_expires_at: tokens.access_expires_at,
        refresh_expires_at: tokens.refresh_expires_at,
        scope: tokens.scope.clone(),
        ..sealed
    };
    Ok(Connect { generation, tokens: Some(tokens), ..connect })
}

async fn fill(
    slot: &mut SpillSlot<'_>,
    write: &StoreWrite,
    cause: &(dyn Error + Send + Sync),
    name: &ConnectionName,
) -> bool {
    match slot.fill(write).await {
        Ok(()) => {
            tracing::error!(connection = %name, error = %cause, "the store did not take a token reply; it is spilled");
            true
        }
        Err(error) => {
            tracing::error!(
                connection = %name, store = %cause, spill = %error,
                "CRITICAL: neither the store nor the spill slot takes a token reply; it is held in memory"
            );
            false
        }
    }
}

/// Frees a slot whose write the store has taken. A slot that cannot be freed is offered again, which changes nothing.
async fn clear(slot: &mut SpillSlot<'_>) {
    if let Err(error) = slot.clear().await {
        tracing::warn!(%error, "a spill slot could not be freed");
    }
}
