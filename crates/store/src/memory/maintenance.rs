//! The port `Maintenance`: the identity of the installation, its clock, its settings.

use async_trait::async_trait;
use jeton_core::id::InstanceId;
use jeton_core::keep::ports::{Identity, Maintenance, StoreError};
use jeton_core::time::Timestamp;

use super::{InMemory, Persistence};

#[async_trait]
impl<P: Persistence> Maintenance for InMemory<P> {
    async fn identity(&self) -> Result<Option<Identity>, StoreError> {
        self.read(|snapshot, _| snapshot.identity.clone()).await
    }

    async fn initialise(&self, identity: Identity) -> Result<Identity, StoreError> {
        self.write(move |tx| {
            let winner = tx.snapshot().identity.clone();
            Ok(winner.unwrap_or_else(|| tx.change().identity.insert(identity).clone()))
        })
        .await
    }

    async fn adopt(&self, instance: InstanceId) -> Result<(), StoreError> {
        self.write(move |tx| {
            let Some(known) = tx.snapshot().identity.clone() else {
                let text = "the store is new and belongs to nobody: there is nothing to adopt";
                return Err(StoreError::Refused(text.into()));
            };
            tx.change().identity = Some(Identity { instance, ..known });
            Ok(())
        })
        .await
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        Ok(self.shared.clock.now())
    }

    async fn find_setting(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let name = name.to_owned();
        self.read(move |snapshot, _| snapshot.settings.get(&name).cloned()).await
    }

    async fn insert_setting(&self, name: &str, value: Vec<u8>) -> Result<Vec<u8>, StoreError> {
        let name = name.to_owned();
        self.write(move |tx| {
            let known = tx.snapshot().settings.get(&name).cloned();
            Ok(known.unwrap_or_else(|| tx.change().settings.entry(name).or_insert(value).clone()))
        })
        .await
    }
}
