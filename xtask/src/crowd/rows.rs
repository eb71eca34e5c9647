//! The rows of very many connections, made after the row of one that the binary connected.
//!
//! Connecting them one by one would take longer than everything that is measured. The tokens are sealed with the key of the
//! home, each for its own row: they open, and each is a token of its own.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result};
use jeton_core::entropy::SystemEntropy;
use jeton_core::id::{AttemptId, ConnectionName, GrantId};
use jeton_core::keep::connection::{Generation, access_context, refresh_context};
use jeton_core::seal::{KeyRing, Sealer};
use jeton_core::secret::Secret;
use jeton_core::time::{Clock, SystemClock, Timestamp};
use jeton_testkit::{PgDatabase, TestInstallation};
use rusqlite::Connection as Sqlite;

/// How many rows one statement makes.
const CHUNK: usize = 1_000;

/// The access token of the connection `name`.
pub(super) fn access_token(name: &str) -> String {
    format!("access-token-of-{name}-with-the-length-that-tokens-usually-have")
}

/// Makes a row of each name after the row of `first`. No server runs meanwhile.
///
/// # Errors
/// The store cannot be written, or the key of the home is not the key of the store.
pub(super) fn fill(home: &TestInstallation, first: &str, names: impl Iterator<Item = String>) -> Result<()> {
    let books = Books::open(home)?;
    let revision: i64 = books.cell("SELECT CAST(max(revision) AS text) FROM connections")?.parse()?;
    let generation = Generation(
        books
            .cell(&format!("SELECT CAST(generation AS text) FROM connections WHERE name = '{first}'"))?
            .parse()?,
    );
    let maker = Maker { sealer: sealer(home, &books)?, generation, now: SystemClock.now(), books: &books };
    let rows: Vec<Row> =
        names.zip(revision + 1..).map(|(name, number)| maker.row(&name, number)).collect::<Result<_>>()?;
    for chunk in rows.chunks(CHUNK) {
        let inserts = TABLES.map(|table| table.insert(first, chunk, books.has_drift(&table)));
        books.run(&inserts.join(";\n"))?;
    }
    let last = rows.last().map_or(revision, |row| row.number);
    books.run(&books.closing(last))
}

fn sealer(home: &TestInstallation, books: &Books) -> Result<Sealer> {
    let key = fs::read_to_string(home.data_dir().join("key")).context("reading the key of the home")?;
    let check = unhex(&books.cell(&format!("SELECT {} FROM store", books.as_hex("key_check")))?);
    let check = check.context("the store says its key check value in hexadecimal digits")?;
    Sealer::open_with(KeyRing::parse(&key)?, &check).context("opening the store with the key of the home")
}

/// What is different in the rows of one connection. Bytes are literals of SQL.
struct Row {
    name: String,
    number: i64,
    grant: String,
    attempt: String,
    access: String,
    refresh: String,
    access_fingerprint: String,
    refresh_fingerprint: String,
}

struct Maker<'a> {
    sealer: Sealer,
    generation: Generation,
    now: Timestamp,
    books: &'a Books<'a>,
}

impl Maker<'_> {
    fn row(&self, name: &str, number: i64) -> Result<Row> {
        let connection: ConnectionName = name.parse()?;
        let access = Secret::from(access_token(name));
        let refresh =
            Secret::from(format!("refresh-token-of-{name}-with-the-length-that-tokens-usually-have"));
        let seal = |secret: &Secret, place| {
            self.books.bytes(&self.sealer.seal(secret.reveal().as_bytes(), place, &SystemEntropy))
        };
        let fingerprint = |secret| self.books.bytes(self.sealer.fingerprint(secret).as_bytes());
        Ok(Row {
            name: name.to_owned(),
            number,
            grant: self.books.bytes(GrantId::generate(self.now, &SystemEntropy).as_bytes()),
            attempt: self.books.bytes(AttemptId::generate(self.now, &SystemEntropy).as_bytes()),
            access: seal(&access, access_context(&connection, self.generation)),
            refresh: seal(&refresh, refresh_context(&connection, self.generation)),
            access_fingerprint: fingerprint(&access),
            refresh_fingerprint: fingerprint(&refresh),
        })
    }
}

/// What stands in a column of a made row.
type Cell = fn(&Row) -> String;

/// How the rows of a table are made.
struct Table {
    name: &'static str,
    /// The column that names the connection.
    key: &'static str,
    /// What is as it is in the row of the first connection.
    copied: &'static str,
    /// What is different, and what of a [`Row`] stands there.
    made: &'static [(&'static str, Cell)],
}

const TABLES: [Table; 3] = [
    Table {
        name: "connections",
        key: "name",
        copied: "provider, state, paused, generation, born_of, due_at, failures, created_at",
        made: &[
            ("name", |row| format!("'{}'", row.name)),
            ("revision", |row| row.number.to_string()),
            ("grant_id", |row| row.grant.clone()),
        ],
    },
    Table {
        name: "tokens",
        key: "connection",
        copied: "generation, obtained_at, access_expires_at, refresh_expires_at",
        made: &[
            ("connection", |row| format!("'{}'", row.name)),
            ("attempt", |row| row.attempt.clone()),
            ("access", |row| row.access.clone()),
            ("refresh", |row| row.refresh.clone()),
            ("access_fingerprint", |row| row.access_fingerprint.clone()),
            ("refresh_fingerprint", |row| row.refresh_fingerprint.clone()),
        ],
    },
    Table {
        name: "attempts",
        key: "connection",
        copied: "provider, trigger, act, status, node, generation, new_generation, started_at, completed_at, \
                 new_expires_at",
        made: &[
            ("id", |row| row.attempt.clone()),
            ("connection", |row| format!("'{}'", row.name)),
            ("grant_id", |row| row.grant.clone()),
        ],
    },
];

impl Table {
    /// One statement that makes all `rows` after the row of the connection `first`.
    fn insert(&self, first: &str, rows: &[Row], drift: bool) -> String {
        let Self { name, key, copied, made } = self;
        let copied = if drift { format!("{copied}, drift") } else { (*copied).to_owned() };
        let list = |cells: Vec<String>| cells.join(", ");
        let columns = list(made.iter().map(|(column, _)| (*column).to_owned()).collect());
        let new = list(made.iter().map(|(column, _)| format!("new.{column}")).collect());
        let one = list(copied.split(", ").map(|column| format!("one.{column}")).collect());
        let values =
            rows.iter().map(|row| format!("({})", list(made.iter().map(|(_, cell)| cell(row)).collect())));
        let values = list(values.collect());
        format!(
            "WITH new ({columns}) AS (VALUES {values})
             INSERT INTO {name} ({columns}, {copied})
             SELECT {new}, {one} FROM new CROSS JOIN {name} AS one WHERE one.{key} = '{first}'"
        )
    }
}

/// The store of a home, for whoever writes its tables.
enum Books<'a> {
    Sqlite(Sqlite),
    Postgres(&'a PgDatabase),
}

impl<'a> Books<'a> {
    fn open(home: &'a TestInstallation) -> Result<Self> {
        Ok(match home.postgres() {
            Some(database) => Self::Postgres(database),
            None => Self::Sqlite(Sqlite::open(home.database()).context("opening the store")?),
        })
    }

    /// One cell of one row.
    fn cell(&self, select: &str) -> Result<String> {
        match self {
            Self::Sqlite(store) => Ok(store.query_row(select, (), |row| row.get(0))?),
            Self::Postgres(database) => {
                let rows = database.query(select)?;
                let cell = rows.into_iter().flatten().next().flatten();
                cell.with_context(|| format!("the store has no answer to {select}"))
            }
        }
    }

    /// Statements as one transaction.
    fn run(&self, statements: &str) -> Result<()> {
        match self {
            Self::Sqlite(store) => Ok(store.execute_batch(&format!("BEGIN;\n{statements};\nCOMMIT"))?),
            Self::Postgres(database) => database.query(statements).map(drop),
        }
    }

    /// Bytes as a literal.
    fn bytes(&self, bytes: &[u8]) -> String {
        let mut text = String::from(match self {
            Self::Sqlite(_) => "X'",
            Self::Postgres(_) => "'\\x",
        });
        for byte in bytes {
            write!(text, "{byte:02x}").expect("writing to a string cannot fail");
        }
        text.push_str(match self {
            Self::Sqlite(_) => "'",
            Self::Postgres(_) => "'::bytea",
        });
        text
    }

    /// A column of bytes as hexadecimal digits.
    fn as_hex(&self, column: &str) -> String {
        match self {
            Self::Sqlite(_) => format!("hex({column})"),
            Self::Postgres(_) => format!("encode({column}, 'hex')"),
        }
    }

    /// Rows of SQLite say how far its steady clock was ahead when they were written.
    fn has_drift(&self, table: &Table) -> bool {
        matches!(self, Self::Sqlite(_)) && table.name != "tokens"
    }

    /// Says which revision was the last, and what the planner should know of the tables.
    fn closing(&self, revision: i64) -> String {
        match self {
            Self::Sqlite(_) => format!("UPDATE store SET revision = {revision}"),
            Self::Postgres(_) => format!("SELECT setval('revisions', {revision}); ANALYZE"),
        }
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}
