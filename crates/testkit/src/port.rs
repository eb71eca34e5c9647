//! Ports that no other test takes meanwhile.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context, Result, bail};

/// Below the range from which systems take the ports of outgoing connections, so that a server that is restarted finds its
/// port free again.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A free port on loopback, reserved among all tests of this machine for as long as the value lives.
#[derive(Debug)]
pub struct FreePort {
    port: u16,
    _reserved: File,
}

impl FreePort {
    /// Finds one.
    pub fn find() -> Result<Self> {
        let locks = std::env::temp_dir().join("jeton-test-ports");
        std::fs::create_dir_all(&locks).with_context(|| format!("making {}", locks.display()))?;
        // Processes begin at different places, so that they seldom meet.
        let [low, high, ..] = std::process::id().wrapping_mul(397).to_le_bytes();
        let begin = u16::from_le_bytes([low, high]);
        for _ in 0..COUNT {
            let step = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
            let port = FIRST + step % COUNT;
            let lock = locks.join(port.to_string());
            let file = File::options().create(true).append(true).open(&lock);
            let file = file.with_context(|| format!("opening {}", lock.display()))?;
            if file.try_lock().is_ok() && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return Ok(Self { port, _reserved: file });
            }
        }
        bail!("no port from {FIRST} to {} is free", FIRST + COUNT - 1)
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.port
    }

    /// With the address of this machine.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// `http://127.0.0.1:PORT`
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_ports_held_at_once_differ() {
        let (one, two) = (FreePort::find().unwrap(), FreePort::find().unwrap());
        assert_ne!(one.number(), two.number());
        TcpListener::bind(one.address()).expect("it is free");
    }
}
