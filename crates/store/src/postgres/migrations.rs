//! The migrations of PostgreSQL.

use crate::migration::Migration;

/// The migrations of PostgreSQL.
pub const MIGRATIONS: &[Migration] = &[
    Migration { number: 1, name: "keep", sql: include_str!("../../migrations/postgres/0001_keep.sql") },
    Migration {
        number: 2,
        name: "consents",
        sql: include_str!("../../migrations/postgres/0002_consents.sql"),
    },
    Migration::for_other_store(3, "steady"),
    Migration { number: 4, name: "nodes", sql: include_str!("../../migrations/postgres/0004_nodes.sql") },
    Migration {
        number: 5,
        name: "service_tokens",
        sql: include_str!("../../migrations/postgres/0005_service_tokens.sql"),
    },
    Migration { number: 6, name: "audit", sql: include_str!("../../migrations/postgres/0006_audit.sql") },
    Migration {
        number: 7,
        name: "audit_by_subject",
        sql: include_str!("../../migrations/postgres/0007_audit_by_subject.sql"),
    },
    Migration {
        number: 8,
        name: "node_tasks",
        sql: include_str!("../../migrations/postgres/0008_node_tasks.sql"),
    },
    Migration {
        number: 9,
        name: "provider_words",
        sql: include_str!("../../migrations/postgres/0009_provider_words.sql"),
    },
    Migration {
        number: 10,
        name: "outages",
        sql: include_str!("../../migrations/postgres/0010_outages.sql"),
    },
    Migration {
        number: 11,
        name: "node_hosts",
        sql: include_str!("../../migrations/postgres/0011_node_hosts.sql"),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_on_without_gaps() {
        let numbers: Vec<_> = MIGRATIONS.iter().map(|migration| migration.number).collect();
        assert_eq!(numbers, (1..=u32::try_from(MIGRATIONS.len()).unwrap()).collect::<Vec<_>>());
    }
}
