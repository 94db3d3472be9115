//! A UDP relay between agents and hub that can delay, lose, count and cut: the kernel here has no netem.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::oneshot;

/// Bytes of an IPv4 and a UDP header.
const HEADERS: u64 = 28;
/// Longest datagram.
const DATAGRAM: usize = 65_536;

/// A running relay; dropping it ends it.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    _stop: oneshot::Sender<()>,
}

#[derive(Debug, Default)]
struct Shared {
    cut: AtomicBool,
    delay_ms: AtomicU64,
    loss_percent: AtomicU32,
    seen: AtomicU32,
    bytes: AtomicU64,
    datagrams: AtomicU64,
}

impl Relay {
    /// Listens on a free port of `address` and passes datagrams on to `hub`.
    ///
    /// # Panics
    /// When the address cannot be bound.
    pub fn start(address: Ipv4Addr, hub: SocketAddr) -> Self {
        let shared = Arc::new(Shared::default());
        let (stop, stopped) = oneshot::channel::<()>();
        let socket = std::net::UdpSocket::bind((address, 0)).expect("the relay can bind");
        socket.set_nonblocking(true).expect("a socket can be non-blocking");
        let address = socket.local_addr().expect("a bound socket has an address");
        let state = shared.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
            runtime.block_on(async move {
                tokio::select! {
                    biased;
                    _ = stopped => (),
                    () = forward(socket, hub, state) => (),
                }
            });
        });
        Self { address, shared, _stop: stop }
    }

    /// Where agents send to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Drops everything, both ways, until mended.
    pub fn cut(&self, cut: bool) {
        self.shared.cut.store(cut, Ordering::Relaxed);
    }

    /// Delays every datagram, each way.
    pub fn delay(&self, delay: Duration) {
        self.shared.delay_ms.store(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Loses this share of the datagrams, evenly spread.
    pub fn lose(&self, percent: u32) {
        self.shared.loss_percent.store(percent, Ordering::Relaxed);
    }

    /// Bytes on the wire so far, both ways, IP and UDP headers included.
    pub fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed) + HEADERS * self.datagrams()
    }

    /// Datagrams so far, both ways.
    pub fn datagrams(&self) -> u64 {
        self.shared.datagrams.load(Ordering::Relaxed)
    }
}

impl Shared {
    /// Counts a datagram and says after what delay it goes on; `None` when it is lost.
    fn pass(&self, length: usize) -> Option<Duration> {
        self.bytes.fetch_add(length as u64, Ordering::Relaxed);
        self.datagrams.fetch_add(1, Ordering::Relaxed);
        // 37 and 100 have no common divisor: every hundred datagrams lose exactly the wanted share.
        let lot = self.seen.fetch_add(37, Ordering::Relaxed) % 100;
        let lost = self.cut.load(Ordering::Relaxed) || lot < self.loss_percent.load(Ordering::Relaxed);
        (!lost).then(|| Duration::from_millis(self.delay_ms.load(Ordering::Relaxed)))
    }
}

/// Gives every agent's address a socket of its own towards the hub, as a NAT does.
async fn forward(front: std::net::UdpSocket, hub: SocketAddr, shared: Arc<Shared>) {
    let front = Arc::new(UdpSocket::from_std(front).expect("the socket is usable"));
    let mut agents: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut buffer = vec![0; DATAGRAM];
    while let Ok((length, agent)) = front.recv_from(&mut buffer).await {
        let back = match agents.get(&agent) {
            Some(back) => back.clone(),
            None => {
                let back = Arc::new(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await.expect("a port is free"));
                back.connect(hub).await.expect("the hub's address is valid");
                tokio::spawn(answers(back.clone(), front.clone(), agent, shared.clone()));
                agents.insert(agent, back.clone());
                back
            }
        };
        if let Some(delay) = shared.pass(length) {
            let datagram = buffer[..length].to_vec();
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                drop(back.send(&datagram).await);
            });
        }
    }
}

async fn answers(back: Arc<UdpSocket>, front: Arc<UdpSocket>, agent: SocketAddr, shared: Arc<Shared>) {
    let mut buffer = vec![0; DATAGRAM];
    loop {
        // A hub that is down answers with ICMP errors, which are no reason to stop.
        let Ok(length) = back.recv(&mut buffer).await else { continue };
        if let Some(delay) = shared.pass(length) {
            let (front, datagram) = (front.clone(), buffer[..length].to_vec());
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                drop(front.send_to(&datagram, agent).await);
            });
        }
    }
}
