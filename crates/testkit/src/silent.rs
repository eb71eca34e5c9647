//! An address that answers no connection attempt.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, getsockname, listen, socket_with};

/// How many attempts fill the queue of a listener with the shortest one.
const FILLERS: usize = 3;

/// An address that answers no connection attempt, as a host that is down behind a router: it is neither accepted nor refused.
#[derive(Debug)]
pub struct SilentListener {
    address: SocketAddr,
    _sockets: Vec<OwnedFd>,
}

impl SilentListener {
    /// Listens at a free port of `ip`, with a queue that is full.
    pub fn bind(ip: &str) -> Result<Self> {
        let ip: IpAddr = ip.parse()?;
        Self::bind_at(SocketAddr::from((ip, 0)))
    }

    /// Listens at `address`, with a queue that is full.
    pub fn bind_at(address: SocketAddr) -> Result<Self> {
        let listener = new_socket(address)?;
        bind(&listener, &address).with_context(|| format!("binding {address}"))?;
        listen(&listener, 0).context("listening")?;
        let address = SocketAddr::try_from(getsockname(&listener)?)?;
        let mut sockets = vec![listener];
        for _ in 0..FILLERS {
            let filler = new_socket(address)?;
            match connect(&filler, &address) {
                Ok(()) | Err(Errno::INPROGRESS) => sockets.push(filler),
                Err(error) => return Err(error).context("filling the queue"),
            }
        }
        Ok(Self { address, _sockets: sockets })
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn new_socket(address: SocketAddr) -> Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    socket_with(family, SocketType::STREAM, flags, None).context("making a socket")
}
