//! Whether `jeton serve` runs and knows a consent link, before a person gets it.

use std::net::SocketAddr;
use std::time::Duration;

use jeton_core::secret::Secret;
use url::Url;

use crate::command_error::CommandError;
use crate::error_code::ErrorCode;
use crate::http::{HttpClient, local_address};

/// How long the server may take to answer.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Checks that jeton answers at `server.listen`.
pub(super) async fn check_running(listen: SocketAddr, name: &str) -> Result<(), CommandError> {
    let address = local_address(listen);
    let reply = HttpClient::new(TIMEOUT).get(address, &"/healthz".into(), &[]).await;
    if reply.is_ok_and(|reply| reply.status == 200 && &*reply.body == br#"{"status":"ok"}"#) {
        return Ok(());
    }
    let text = format!(
        "no jeton answers at http://{address}, so nobody could open the link; start `jeton serve` with these settings, then \
         `jeton connect {name}` again, or use `jeton connect {name} --code`, which needs no server"
    );
    Err(CommandError::new(ErrorCode::ServerAbsent, text))
}

/// Checks that the server at `server.listen` shows the page of a link. That does not use the link up.
pub(super) async fn check_link(listen: SocketAddr, link: &Secret, name: &str) -> Result<(), CommandError> {
    let address = local_address(listen);
    let query = link.reveal().parse::<Url>().ok().and_then(|link| link.query().map(Secret::new));
    let path = Secret::from(format!("/oauth/authorize?{}", query.as_ref().map_or("", Secret::reveal)));
    let reply = HttpClient::new(TIMEOUT).get(address, &path, &[]).await;
    if reply.is_ok_and(|reply| reply.status == 200) {
        return Ok(());
    }
    let text = format!(
        "the server at http://{address} does not know `{name}` as these settings define it, so nobody could open the link; \
         restart `jeton serve`, which started before `{name}` was defined or with other settings, then \
         `jeton connect {name}` again"
    );
    Err(CommandError::new(ErrorCode::ConsentFailed, text))
}
