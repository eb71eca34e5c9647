//! Where tests make a store lose its connection around a COMMIT, and see what follows.
//!
//! A program that serves people leaves all of this alone.

use std::fmt;

use async_trait::async_trait;
use jeton_core::keep::ports::StoreError;

/// Called around the COMMIT of each call. A hook may wait, count, or end the connection from another one.
#[async_trait]
pub trait PostgresHooks: fmt::Debug + Send + Sync {
    /// The rows are locked and what will be written is known; nothing of it was sent. An error rolls the call
    /// back, and its caller gets the error.
    async fn before_commit(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Everything is durable. An error means that nobody was told: the connection was lost before the answer came.
    async fn after_commit(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// No hooks.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPostgresHooks;

impl PostgresHooks for NoPostgresHooks {}
