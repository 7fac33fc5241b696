//! A TCP relay between a client and a node that breaks connections in the ways that networks do.
//! Knows bytes and connections only.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// The bytes that are passed on in one piece.
const CHUNK_BYTES: usize = 16 * 1_024;

/// What the relay does with the bytes of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Passes them on.
    #[default]
    None,
    /// Reads and drops them, in both directions: a peer that is gone without a word, while the
    /// connection looks open and takes whatever is written.
    HalfOpen,
    /// Stops reading, in both directions, until the fault changes: windows fill up.
    Stall,
    /// Passes them on this much later.
    Delay(Duration),
    /// Passes on at most this many bytes a second.
    BytesPerSecond(usize),
}

/// How a connection is brought to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// In order: FIN.
    Close,
    /// By RST.
    Reset,
}

#[derive(Clone, Copy, Debug, Default)]
struct Order {
    fault: Fault,
    end: Option<End>,
}

/// The relay. Dropping it resets all of its connections.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accept: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    upstream: Mutex<SocketAddr>,
    /// What new connections start with.
    initial: Mutex<Fault>,
    connections: Mutex<Vec<watch::Sender<Order>>>,
    accepted: AtomicUsize,
}

impl FaultProxy {
    /// Listens on a free port and relays to a node.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            upstream: Mutex::new(upstream),
            initial: Mutex::new(Fault::None),
            connections: Mutex::new(Vec::new()),
            accepted: AtomicUsize::new(0),
        });
        let accept = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self {
            address,
            shared,
            accept,
        }
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Relays later connections to another address.
    pub fn set_upstream(&self, upstream: SocketAddr) {
        *lock(&self.shared.upstream) = upstream;
    }

    /// Breaks all connections, the open ones and the coming ones, in one way, or mends them.
    pub fn set(&self, fault: Fault) {
        *lock(&self.shared.initial) = fault;
        self.set_open(fault);
    }

    /// Breaks the open connections only: whoever connects anew gets through.
    pub fn set_open(&self, fault: Fault) {
        for connection in lock(&self.shared.connections).iter() {
            connection.send_modify(|order| order.fault = fault);
        }
    }

    /// Ends the open connections in order (FIN).
    pub fn close_all(&self) {
        self.end_all(End::Close);
    }

    /// Resets the open connections (RST).
    pub fn reset_all(&self) {
        self.end_all(End::Reset);
    }

    /// How many connections were ever accepted.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    fn end_all(&self, end: End) {
        for connection in lock(&self.shared.connections).drain(..) {
            connection.send_modify(|order| order.end = Some(end));
        }
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accept.abort();
        self.reset_all();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        shared.accepted.fetch_add(1, Ordering::SeqCst);
        let fault = *lock(&shared.initial);
        let (orders, order) = watch::channel(Order { fault, end: None });
        {
            let mut connections = lock(&shared.connections);
            connections.retain(|connection| !connection.is_closed());
            connections.push(orders);
        }
        let upstream = *lock(&shared.upstream);
        tokio::spawn(relay(client, upstream, order));
    }
}

async fn relay(mut client: TcpStream, upstream: SocketAddr, mut order: watch::Receiver<Order>) {
    let Ok(mut node) = TcpStream::connect(upstream).await else {
        // The node is down: the client shall see what it would see without the relay.
        client.set_zero_linger().ok();
        return;
    };
    client.set_nodelay(true).ok();
    node.set_nodelay(true).ok();
    let (up, down) = (order.clone(), order.clone());
    let end = {
        let (client_read, client_write) = client.split();
        let (node_read, node_write) = node.split();
        let both = async {
            tokio::try_join!(
                pump(client_read, node_write, up),
                pump(node_read, client_write, down)
            )
        };
        tokio::select! {
            end = ordered_end(&mut order) => end,
            // Both sides closed in order, or one of them broke: the other side shall see the same.
            result = both => if result.is_ok() { End::Close } else { End::Reset },
        }
    };
    if end == End::Reset {
        client.set_zero_linger().ok();
        node.set_zero_linger().ok();
    }
}

/// Waits for an order to end; a relay that was dropped resets.
async fn ordered_end(order: &mut watch::Receiver<Order>) -> End {
    match order.wait_for(|order| order.end.is_some()).await {
        Ok(order) => order.end.unwrap_or(End::Reset),
        Err(_) => End::Reset,
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut order: watch::Receiver<Order>,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let fault = order.borrow_and_update().fault;
        if fault == Fault::Stall {
            order.changed().await.map_err(io::Error::other)?;
            continue;
        }
        let read = tokio::select! {
            read = from.read(&mut chunk) => read,
            // What is set now holds for the next byte, also where none was under way.
            changed = order.changed() => {
                changed.map_err(io::Error::other)?;
                continue;
            }
        };
        if fault == Fault::HalfOpen {
            if !matches!(read, Ok(1..)) {
                // Nobody is told that this side has gone.
                ordered_end(&mut order).await;
            }
            continue;
        }
        let read = read?;
        if read == 0 {
            return to.shutdown().await;
        }
        match fault {
            Fault::Delay(delay) => tokio::time::sleep(delay).await,
            Fault::BytesPerSecond(rate) => tokio::time::sleep(transmission(read, rate)).await,
            Fault::None | Fault::Stall | Fault::HalfOpen => {}
        }
        to.write_all(&chunk[..read]).await?;
    }
}

fn transmission(bytes: usize, rate: usize) -> Duration {
    let nanos = (bytes as u64).saturating_mul(1_000_000_000) / (rate.max(1) as u64);
    Duration::from_nanos(nanos)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
