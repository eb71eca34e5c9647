//! The port `Maintenance`: the identity of the installation, its clock, its settings.

use async_trait::async_trait;
use jeton_core::id::InstanceId;
use jeton_core::keep::ports::{Identity, Maintenance, StoreError};
use jeton_core::time::Timestamp;

use super::{Home, Kept};

#[async_trait]
impl<H: Home> Maintenance for Kept<H> {
    async fn identity(&self) -> Result<Option<Identity>, StoreError> {
        self.read(|image, _| image.identity.clone()).await
    }

    async fn found(&self, identity: Identity) -> Result<Identity, StoreError> {
        self.write(move |draft| {
            let winner = draft.image().identity.clone();
            Ok(winner.unwrap_or_else(|| draft.change().identity.insert(identity).clone()))
        })
        .await
    }

    async fn adopt(&self, instance: InstanceId) -> Result<(), StoreError> {
        self.write(move |draft| {
            let Some(known) = draft.image().identity.clone() else {
                let text = "the store is new and belongs to nobody: there is nothing to adopt";
                return Err(StoreError::Refused(text.into()));
            };
            draft.change().identity = Some(Identity { instance, ..known });
            Ok(())
        })
        .await
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        Ok(self.shared.clock.now())
    }

    async fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let name = name.to_owned();
        self.read(move |image, _| image.settings.get(&name).cloned()).await
    }

    async fn keep_setting(&self, name: &str, value: Vec<u8>) -> Result<Vec<u8>, StoreError> {
        let name = name.to_owned();
        self.write(move |draft| {
            let known = draft.image().settings.get(&name).cloned();
            Ok(known.unwrap_or_else(|| draft.change().settings.entry(name).or_insert(value).clone()))
        })
        .await
    }
}
