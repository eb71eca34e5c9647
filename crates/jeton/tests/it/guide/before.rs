//! What the guide shows as the program before, and a way to make one.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::Mutex;

pub(crate) struct Tokens {
    client: reqwest::Client,
    token_url: String,
    current: Mutex<Current>,
}

struct Current {
    access: String,
    refresh: String,
    good_until: Instant,
}

impl Tokens {
    pub(crate) async fn access(&self) -> Result<String, reqwest::Error> {
        let mut current = self.current.lock().await;
        if current.good_until > Instant::now() {
            return Ok(current.access.clone());
        }
        let form = [("grant_type", "refresh_token"), ("refresh_token", &current.refresh)];
        let request = self.client.post(&self.token_url).basic_auth("emulated", Some("emulated-secret"));
        let reply: Value = request.form(&form).send().await?.error_for_status()?.json().await?;
        current.access = reply["access_token"].as_str().unwrap_or_default().to_owned();
        current.refresh = reply["refresh_token"].as_str().unwrap_or_default().to_owned();
        current.good_until = Instant::now() + Duration::from_secs(reply["expires_in"].as_u64().unwrap_or(0));
        Ok(current.access.clone())
    }
}

impl Tokens {
    /// One whose access token has died.
    pub(crate) fn new(token_url: String, refresh: String) -> Self {
        let current = Current { access: String::new(), refresh, good_until: super::long_ago() };
        Self { client: reqwest::Client::new(), token_url, current: Mutex::new(current) }
    }
}
