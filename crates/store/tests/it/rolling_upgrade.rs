//! A rolling upgrade: a program goes on while a newer one, which knows one migration more, changes the schema under it, and
//! then both work on the same rows.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use jeton_core::id::Generation;
use jeton_core::keep::attempt::{Act, AttemptStatus};
use jeton_core::keep::claim::{Claim, ClaimAnswer};
use jeton_core::keep::connection::SealedTokens;
use jeton_core::keep::ports::{AttemptFilter, Commit, CommitAnswer, Connect, ConnectAnswer, StoreError};
use jeton_core::seal::Fingerprint;
use jeton_store::Store;
use jeton_store::migration::Migration;

use crate::requests::{claim, commit, connect, refusal, tokens};

/// How many connections there are. The last is under way while the schema changes.
const CONNECTIONS: u8 = 4;

/// A connection, and the generation that it must have.
#[derive(Clone, Debug)]
struct TestConnection {
    number: u8,
    generation: u64,
}

impl TestConnection {
    async fn connect(store: &dyn Store, number: u8) -> Self {
        let connection = Self { number, generation: 1 };
        let order = connect(&connection.name(), number);
        let answer = store.connect(Connect { tokens: Some(connection.tokens()), ..order }).await.unwrap();
        assert_eq!(answer, ConnectAnswer::Connected { generation: Generation(1) });
        connection
    }

    fn name(&self) -> String {
        format!("connection-{}", self.number)
    }

    /// What it holds in its generation, and no other does.
    fn tokens(&self) -> SealedTokens {
        let mut print = [self.number; 16];
        print[..8].copy_from_slice(&self.generation.to_be_bytes());
        SealedTokens { refresh_fingerprint: Some(Fingerprint::from_bytes(print)), ..tokens(self.number) }
    }

    fn claim(&self) -> Claim {
        let spends = self.tokens().refresh_fingerprint;
        Claim { generation: Generation(self.generation), spends, ..claim(&self.name(), self.number) }
    }

    async fn begin(&self, store: &dyn Store) -> Claim {
        let claim = self.claim();
        let answer = store.claim(claim.clone()).await.unwrap();
        assert!(matches!(answer, ClaimAnswer::Won { .. }), "{self:?}: {answer:?}");
        claim
    }

    async fn end(&mut self, store: &dyn Store, claim: &Claim) {
        self.generation += 1;
        let order = Commit { tokens: self.tokens(), ..commit(claim, self.number) };
        let answer = store.commit(order).await.unwrap();
        assert_eq!(answer, CommitAnswer::Committed { generation: Generation(self.generation) }, "{self:?}");
    }

    async fn refresh(&mut self, store: &dyn Store) {
        let claim = self.begin(store).await;
        self.end(store, &claim).await;
    }

    /// Both claim it at once: one of them refreshes, the other is told to wait.
    async fn contend(&mut self, one: &dyn Store, two: &dyn Store) {
        let claims = [self.claim(), self.claim()];
        let (first, second) = tokio::join!(one.claim(claims[0].clone()), two.claim(claims[1].clone()));
        match (first.unwrap(), second.unwrap()) {
            (ClaimAnswer::Won { .. }, ClaimAnswer::Held { .. }) => self.end(one, &claims[0]).await,
            (ClaimAnswer::Held { .. }, ClaimAnswer::Won { .. }) => self.end(two, &claims[1]).await,
            answers => panic!("{self:?}: {answers:?}"),
        }
    }
}

/// Upgrades under the older program; `upgrade` ends with the newer one at work.
pub(crate) async fn upgrade_under(older: &dyn Store, upgrade: impl Future<Output = Arc<dyn Store>>) {
    let mut connections = Vec::new();
    for number in 0..CONNECTIONS {
        connections.push(TestConnection::connect(older, number).await);
    }
    let (last, others) = connections.split_last_mut().unwrap();
    let open = last.begin(older).await;

    let (upgraded, mut meanwhile) = (Cell::new(false), 0);
    let working = async {
        while !upgraded.get() {
            for connection in &mut *others {
                connection.refresh(older).await;
                meanwhile += 1;
            }
        }
    };
    let upgrading = async {
        let newer = upgrade.await;
        upgraded.set(true);
        newer
    };
    let ((), newer) = tokio::join!(working, upgrading);
    assert!(meanwhile > 0, "the older program worked while the schema changed");
    let rival = newer.claim(last.claim()).await.unwrap();
    assert!(matches!(rival, ClaimAnswer::Held { .. }), "the newer one sees the older one's lease: {rival:?}");
    last.end(older, &open).await;

    for round in 0..10 {
        for connection in &mut connections {
            let turn = if (round + connection.number) % 2 == 0 { older } else { &*newer };
            connection.refresh(turn).await;
            connection.contend(older, &*newer).await;
        }
    }
    for store in [older, &*newer] {
        assert_nothing_is_lost(store, &connections).await;
    }
}

async fn assert_nothing_is_lost(store: &dyn Store, connections: &[TestConnection]) {
    for connection in connections {
        let row = store.find(&connection.name().parse().unwrap()).await.unwrap().unwrap();
        assert_eq!((row.generation, row.lease), (Generation(connection.generation), None));
        assert_eq!(row.tokens, Some(connection.tokens()));
    }
    let filter = AttemptFilter { status: Some(AttemptStatus::Success), ..AttemptFilter::default() };
    let attempts = store.list_attempts(&filter, 100_000).await.unwrap();
    let redeemed = attempts.iter().filter(|attempt| attempt.act == Act::Redeem).count();
    let refreshed: u64 = connections.iter().map(|connection| connection.generation - 1).sum();
    assert_eq!(redeemed as u64, refreshed, "each refresh is in the log");
}

/// What a later program knows: these migrations, and one that adds a column to every table of connections.
pub(crate) fn later(known: &[Migration]) -> &'static [Migration] {
    let number = known.last().unwrap().number + 1;
    let sql = "ALTER TABLE connections ADD COLUMN later TEXT; ALTER TABLE tokens ADD COLUMN later TEXT;
         ALTER TABLE strays ADD COLUMN later TEXT; ALTER TABLE attempts ADD COLUMN later TEXT;
         ALTER TABLE consents ADD COLUMN later TEXT;";
    [known, &[Migration { number, name: "later", sql }]].concat().leak()
}

/// Columns by table and name, and whether a statement may leave them out.
pub(crate) type Columns = BTreeMap<(String, String), bool>;

/// Sees that programs which do not know `migration` can go on: what they name is there, and what they do not name of tables
/// that they know may be left out.
pub(crate) fn assert_only_adds(migration: &Migration, before: &Columns, after: &Columns) {
    for ((table, column), optional) in after {
        let known_table = before.keys().any(|(name, _)| name == table);
        let known = before.contains_key(&(table.clone(), column.clone()));
        assert!(known || !known_table || *optional, "{migration:?}: {table}.{column} must be given");
    }
    for (table, column) in before.keys() {
        let key = (table.clone(), column.clone());
        assert!(after.contains_key(&key), "{migration:?}: {table}.{column} is gone");
    }
}

/// What the older program is told when it is started once more.
pub(crate) fn assert_needs_newer<T>(opened: Result<T, StoreError>, newest: &[Migration]) {
    let (text, last) = (refusal(opened), newest.last().unwrap().number);
    let told = format!("has schema {last}, and this jeton knows schemas up to {}", last - 1);
    assert!(text.contains(&told) && text.contains("start the newer jeton"), "{text}");
}
