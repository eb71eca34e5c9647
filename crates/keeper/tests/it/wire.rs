//! What of a request is on the wire when we give up on it.

use std::io;
use std::time::Duration;

use jeton_core::secret::Secret;
use jeton_keeper::{Grant, Settings, TokenError};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpSocket, TcpStream};

use crate::fixture::{ACME, Fixture, Options, short_settings};

/// Longer than what the listener's side takes in while it does not read.
const LONG: usize = 1024 * 1024;

/// Reads to the end, whatever it is; answers how many bytes came before it.
async fn read_on(mut stream: TcpStream) -> (usize, io::Result<usize>) {
    let mut piece = vec![0; 64 * 1024];
    let mut length = 0;
    loop {
        match stream.read(&mut piece).await {
            Ok(read) if read > 0 => length += read,
            end => return (length, end),
        }
    }
}

#[tokio::test]
async fn what_is_still_queued_when_we_give_up_is_never_sent() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(8).unwrap();
    let token_url = Some(format!("http://{}/token", listener.local_addr().unwrap()));
    let settings = Settings { redeem_timeout: Duration::from_millis(500), ..short_settings() };
    let (_world, process) = Fixture::with(Options { settings, token_url, ..Options::default() }).await;
    process.connect(ACME, Grant { refresh: Some(Secret::from("r".repeat(LONG))), ..Grant::default() }).await;

    let (answer, accepted) = tokio::join!(process.token(ACME), listener.accept());
    assert!(matches!(answer, Err(TokenError::Interrupted { .. })), "some of it went out: {answer:?}");
    let (length, end) = read_on(accepted.unwrap().0).await;
    assert!(length < LONG, "the kernel sent all of it, long after the attempt was given up");
    assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}
