//! The port `NodeStore`: the processes on this database.

use async_trait::async_trait;
use jeton_core::id::NodeId;
use jeton_core::keep::ports::{Heartbeat, HeartbeatReply, NodeStore, StoreError};

use super::PostgresStore;
use super::connections_table::{self, STATEMENT_INSTANT};
use super::statement::Statement;
use crate::row_reader::{self, LIVE_NODE_COLUMNS, micros};
use crate::rules::NODES_REMEMBERED;

fn beat(beat: &Heartbeat, now: Option<i64>) -> Statement {
    Statement::new(format!(
        "INSERT INTO nodes (id, name, version, definitions, started_at, seen_at, live_until)
         VALUES ($2, $3, $4, $5, {STATEMENT_INSTANT}, {STATEMENT_INSTANT}, {STATEMENT_INSTANT} + $6)
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, version = excluded.version,
            definitions = excluded.definitions, seen_at = excluded.seen_at, live_until = excluded.live_until
         RETURNING seen_at"
    ))
    .number(now)
    .bytes(&beat.node.as_bytes()[..])
    .text(beat.name.as_str())
    .text(beat.version.as_str())
    .text(beat.definitions.as_str())
    .number(micros(beat.life))
}

#[async_trait]
impl NodeStore for PostgresStore {
    async fn record_heartbeat(&self, order: Heartbeat) -> Result<HeartbeatReply, StoreError> {
        let now = self.told_instant();
        let others = Statement::new(format!(
            "SELECT {LIVE_NODE_COLUMNS} FROM nodes WHERE id <> $2 AND live_until > {STATEMENT_INSTANT}
             ORDER BY id LIMIT 1000"
        ));
        let forget = Statement::new(format!("DELETE FROM nodes WHERE seen_at < {STATEMENT_INSTANT} - $2"));
        let statements = vec![
            forget.number(now).number(micros(NODES_REMEMBERED)),
            beat(&order, now),
            others.number(now).bytes(&order.node.as_bytes()[..]),
        ];
        let mut answers = self.write_all(statements).await?;
        let others = answers.pop().unwrap_or_default();
        let beat = answers.pop().unwrap_or_default();
        Ok(HeartbeatReply {
            now: connections_table::instant(&beat)?,
            others: others.iter().map(|row| row_reader::live_node(row)).collect::<Result<_, _>>()?,
        })
    }

    async fn forget(&self, node: NodeId) -> Result<(), StoreError> {
        let forget = Statement::new("DELETE FROM nodes WHERE id = $1").bytes(&node.as_bytes()[..]);
        self.write_one(forget).await?;
        Ok(())
    }
}
