//! The port `NodeStore`: the processes that share this file.

use async_trait::async_trait;
use jeton_core::id::NodeId;
use jeton_core::keep::ports::{Heartbeat, HeartbeatReply, NodeStore, StoreError};
use rusqlite::{named_params, params};

use super::errors::SqliteError;
use super::writer::SqliteTx;
use super::{SqliteStore, connections_table};
use crate::row_reader::{self, LIVE_NODE_COLUMNS};
use crate::rules::NODES_REMEMBERED;

fn beat(tx: &SqliteTx<'_>, beat: &Heartbeat) -> Result<HeartbeatReply, SqliteError> {
    let mut forget = tx.conn.prepare_cached("DELETE FROM nodes WHERE seen_at < ?")?;
    forget.execute(params![(tx.now - NODES_REMEMBERED).as_micros()])?;
    let mut upsert = tx.conn.prepare_cached(
        "INSERT INTO nodes (id, name, version, definitions, started_at, seen_at, live_until)
         VALUES (:id, :name, :version, :definitions, :now, :now, :live_until)
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, version = excluded.version,
            definitions = excluded.definitions, seen_at = excluded.seen_at, live_until = excluded.live_until",
    )?;
    upsert.execute(named_params! {
        ":id": beat.node.as_bytes(),
        ":name": beat.name,
        ":version": beat.version,
        ":definitions": beat.definitions,
        ":now": tx.now.as_micros(),
        ":live_until": (tx.now + beat.life).as_micros(),
    })?;
    let sql = format!(
        "SELECT {LIVE_NODE_COLUMNS} FROM nodes WHERE id <> ? AND live_until > ? ORDER BY id LIMIT 1000"
    );
    let bound = params![beat.node.as_bytes(), tx.now.as_micros()];
    let others = connections_table::all(tx.conn, &sql, bound, |row| row_reader::live_node(row))?;
    Ok(HeartbeatReply { now: tx.now, others })
}

#[async_trait]
impl NodeStore for SqliteStore {
    async fn record_heartbeat(&self, order: Heartbeat) -> Result<HeartbeatReply, StoreError> {
        self.write(move |tx| beat(tx, &order)).await
    }

    async fn forget(&self, node: NodeId) -> Result<(), StoreError> {
        let forget = move |tx: &SqliteTx<'_>| {
            let mut statement = tx.conn.prepare_cached("DELETE FROM nodes WHERE id = ?")?;
            statement.execute(params![node.as_bytes()])?;
            Ok(())
        };
        self.write(forget).await
    }
}
