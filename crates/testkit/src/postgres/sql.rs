//! Statements of the superuser, for callers who may or may not be within an async runtime.

use std::thread;

use anyhow::{Context, Result, anyhow};
use tokio::runtime::Builder;
use tokio_postgres::{NoTls, SimpleQueryMessage};

/// Runs a future to its end on a thread and a runtime of its own.
pub(super) fn block_on_thread<T, F>(make: impl FnOnce() -> F + Send) -> Result<T>
where
    T: Send,
    F: Future<Output = Result<T>>,
{
    let run = || Builder::new_current_thread().enable_all().build()?.block_on(make());
    thread::scope(|scope| scope.spawn(run).join().map_err(|_| anyhow!("a task of the testkit panicked")))?
}

/// Runs statements one after the other in one session; returns the rows of the last that has any.
pub(super) fn run(url: &str, statements: &str) -> Result<Vec<Vec<Option<String>>>> {
    block_on_thread(async || Session::open(url).await?.run(statements).await)
}

/// An error with the server's message, which the driver's own text leaves out.
fn describe(error: &tokio_postgres::Error, statements: &str) -> anyhow::Error {
    match error.as_db_error() {
        Some(error) => anyhow!("{} ({}): {statements}", error.message(), error.code().code()),
        None => anyhow!("{error}: {statements}"),
    }
}

/// A session of the superuser.
pub(super) struct Session {
    client: tokio_postgres::Client,
}

impl Session {
    pub(super) async fn open(url: &str) -> Result<Self> {
        let (client, connection) =
            tokio_postgres::connect(url, NoTls).await.context("reaching the PostgreSQL of the tests")?;
        // It runs on the runtime of `block_on_thread`, and ends with it.
        tokio_util::task::TaskTracker::new().spawn(connection);
        Ok(Self { client })
    }

    pub(super) async fn run(&self, statements: &str) -> Result<Vec<Vec<Option<String>>>> {
        let mut rows = Vec::new();
        for message in
            self.client.simple_query(statements).await.map_err(|error| describe(&error, statements))?
        {
            match message {
                SimpleQueryMessage::RowDescription(_) => rows.clear(),
                SimpleQueryMessage::Row(row) => {
                    rows.push((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect());
                }
                _ => {}
            }
        }
        Ok(rows)
    }
}
