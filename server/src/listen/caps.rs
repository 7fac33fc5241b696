//! How many connections there may be, in all and from one address.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    limits::{Limits, count},
    metrics::Refused,
};

/// Counts the open connections.
#[derive(Debug)]
pub(super) struct Caps {
    max: usize,
    per_address_max: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    /// Holds an address only while it has connections, so it is bounded by their number.
    by_address: HashMap<IpAddr, usize>,
}

/// The place of one connection; free again when dropped.
#[derive(Debug)]
pub(super) struct Place {
    caps: Arc<Caps>,
    address: IpAddr,
}

impl Caps {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            max: count(limits.connections_max),
            per_address_max: count(limits.connections_per_address_max),
            open: Mutex::default(),
        }
    }

    pub(super) fn admit(self: &Arc<Self>, peer: IpAddr) -> Result<Place, Refused> {
        let address = network(peer);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.all >= self.max {
            return Err(Refused::Full);
        }
        let of_address = open.by_address.get(&address).copied().unwrap_or(0);
        if of_address >= self.per_address_max {
            return Err(Refused::AddressFull);
        }
        open.all += 1;
        open.by_address.insert(address, of_address + 1);
        Ok(Place {
            caps: Arc::clone(self),
            address,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self
            .caps
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        open.all -= 1;
        if let Some(of_address) = open.by_address.get_mut(&self.address) {
            *of_address -= 1;
            if *of_address == 0 {
                open.by_address.remove(&self.address);
            }
        }
    }
}

/// An IPv6 client has a whole /64 to itself, so addresses within it count as one.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let network = address.to_bits() >> 64 << 64;
            std::net::Ipv6Addr::from_bits(network).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caps(max: u64, per_address: u64) -> Arc<Caps> {
        Arc::new(Caps::new(&Limits {
            connections_max: max,
            connections_per_address_max: per_address,
            ..Limits::default()
        }))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn one_address_cannot_take_all_places() {
        let caps = caps(10, 2);
        let first = caps.admit(ip("2001:db8::1")).expect("free");
        let _second = caps.admit(ip("2001:db8::2")).expect("free");
        assert_eq!(
            caps.admit(ip("2001:db8::3")).err(),
            Some(Refused::AddressFull)
        );
        let _other = caps.admit(ip("2001:db8:0:1::1")).expect("another network");
        drop(first);
        caps.admit(ip("2001:db8::3")).expect("free again");
    }

    #[test]
    fn full_node_admits_nobody() {
        let caps = caps(1, 1);
        let first = caps.admit(ip("192.0.2.1")).expect("free");
        assert_eq!(caps.admit(ip("192.0.2.2")).err(), Some(Refused::Full));
        drop(first);
        assert!(caps.open.lock().expect("sound").by_address.is_empty());
    }
}
