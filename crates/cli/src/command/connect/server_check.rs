//! Whether a server is there to open the link.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use jeton_core::secret::Secret;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::Url;

use crate::command_error::CommandError;
use crate::error_code::ErrorCode;

/// A server on this machine that takes longer is as good as none.
const PATIENCE: Duration = Duration::from_secs(3);

/// Asks the server at `server.listen` for a sign of life.
///
/// # Errors
/// It gives none: nobody could open a link.
pub(super) async fn is_there(listen: SocketAddr, name: &str) -> Result<(), CommandError> {
    let address = reachable(listen);
    if matches!(timeout(PATIENCE, answers(address)).await, Ok(Ok(true))) {
        return Ok(());
    }
    let text = format!(
        "no jeton answers at http://{address}, so nobody could open the link; start `jeton serve` with these settings, then \
         `jeton connect {name}` again, or use `jeton connect {name} --code`, which needs no server"
    );
    Err(CommandError::new(ErrorCode::ServerAbsent, text))
}

/// Asks the server at `server.listen` for the page of a link, as a browser would; that opens nothing.
///
/// # Errors
/// It does not show it: whoever opened the link would come to nothing.
pub(super) async fn opens(listen: SocketAddr, link: &Secret, name: &str) -> Result<(), CommandError> {
    let address = reachable(listen);
    let query = link.reveal().parse::<Url>().ok().and_then(|link| link.query().map(Secret::new));
    let path = Secret::from(format!("/oauth/authorize?{}", query.as_ref().map_or("", Secret::reveal)));
    if matches!(timeout(PATIENCE, ask(address, &path)).await, Ok(Ok(answer)) if answer.starts_with(OK)) {
        return Ok(());
    }
    let text = format!(
        "the server at http://{address} does not know `{name}` as these settings define it, so nobody could open the link; \
         restart `jeton serve`, which started before `{name}` was defined or with other settings, then \
         `jeton connect {name}` again"
    );
    Err(CommandError::new(ErrorCode::ConsentFailed, text))
}

/// An address that stands for all of a machine's is reached at its own.
fn reachable(listen: SocketAddr) -> SocketAddr {
    match listen.ip() {
        ip if !ip.is_unspecified() => listen,
        IpAddr::V4(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, listen.port())),
        IpAddr::V6(_) => SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, listen.port())),
    }
}

async fn answers(address: SocketAddr) -> std::io::Result<bool> {
    let answer = ask(address, &"/healthz".into()).await?;
    Ok(answer.starts_with(OK) && answer.ends_with(br#"{"status":"ok"}"#))
}

/// How a good answer begins.
const OK: &[u8] = b"HTTP/1.1 200 ";

/// The beginning of what a server answers.
async fn ask(address: SocketAddr, path: &Secret) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    let request = Secret::from(format!(
        "GET {} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n",
        path.reveal()
    ));
    stream.write_all(request.reveal().as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(4096).read_to_end(&mut answer).await?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_listens_everywhere_is_asked_on_this_machine() {
        for (listen, asked) in [
            ("0.0.0.0:9095", "127.0.0.1:9095"),
            ("[::]:9095", "[::1]:9095"),
            ("10.1.2.3:80", "10.1.2.3:80"),
            ("127.0.0.1:1", "127.0.0.1:1"),
        ] {
            assert_eq!(reachable(listen.parse().unwrap()), asked.parse().unwrap());
        }
    }
}
