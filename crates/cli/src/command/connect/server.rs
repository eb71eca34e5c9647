//! Whether a server is there to open the link.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::code::Code;
use crate::failure::Failure;

/// A server on this machine that takes longer is as good as none.
const PATIENCE: Duration = Duration::from_secs(3);

/// Asks the server at `server.listen` for a sign of life.
///
/// # Errors
/// It gives none: nobody could open a link.
pub(super) async fn is_there(listen: SocketAddr, name: &str) -> Result<(), Failure> {
    let address = reachable(listen);
    if matches!(timeout(PATIENCE, answers(address)).await, Ok(Ok(true))) {
        return Ok(());
    }
    let text = format!(
        "no jeton answers at http://{address}, so nobody could open the link; start `jeton serve` with these settings, then \
         `jeton connect {name}` again, or use `jeton connect {name} --code`, which needs no server"
    );
    Err(Failure::new(Code::ServerAbsent, text))
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
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(4096).read_to_end(&mut answer).await?;
    Ok(answer.starts_with(b"HTTP/1.1 200 ") && answer.ends_with(br#"{"status":"ok"}"#))
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
