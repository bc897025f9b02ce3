//! A name server of a few lines (RFC 1035), written by hand: it knows what a test tells it and nothing else.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::UdpSocket;

use super::LOOPBACK;

const A: u16 = 1;
const SRV: u16 = 33;

/// The records, by name and type.
#[derive(Default)]
pub struct Zone {
    records: BTreeMap<(String, u16), Vec<Vec<u8>>>,
    /// What an address becomes once it was asked for.
    rebound: BTreeMap<String, Vec<u8>>,
}

impl Zone {
    pub fn address(mut self, name: &str, address: [u8; 4]) -> Self {
        self.add(name, A, Ipv4Addr::from(address).octets().to_vec());
        self
    }

    /// The address that every question for the one of `name` but the first is answered with.
    pub fn rebound(mut self, name: &str, address: [u8; 4]) -> Self {
        self.rebound.insert(name.to_owned(), address.to_vec());
        self
    }

    pub fn service(mut self, name: &str, priority: u16, port: u16, target: &str) -> Self {
        let weight = 1u16;
        let mut data = [priority, weight, port].map(u16::to_be_bytes).concat();
        data.extend(encoded(target));
        self.add(name, SRV, data);
        self
    }

    /// Answers on loopback until the test ends.
    pub async fn serve(mut self) -> SocketAddr {
        let socket = UdpSocket::bind(LOOPBACK).await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                if let Some(answer) = self.answer(&buffer[..length]) {
                    let _ = socket.send_to(&answer, from).await;
                }
            }
        });
        address
    }

    fn add(&mut self, name: &str, kind: u16, data: Vec<u8>) {
        self.records.entry((name.to_owned(), kind)).or_default().push(data);
    }

    fn answer(&mut self, query: &[u8]) -> Option<Vec<u8>> {
        let mut labels = Vec::new();
        let mut at = 12;
        while let length @ 1.. = usize::from(*query.get(at)?) {
            labels.push(String::from_utf8_lossy(query.get(at + 1..=at + length)?).to_ascii_lowercase());
            at += length + 1;
        }
        let name = labels.join(".");
        let kind = u16::from_be_bytes([*query.get(at + 1)?, *query.get(at + 2)?]);
        let found = self.records.get(&(name.clone(), kind)).cloned().unwrap_or_default();
        let known = self.records.keys().any(|(of, _)| *of == name);
        // A recursive answer; code 3 says that there is no such name.
        let flags = if known { 0x8180 } else { 0x8183 };

        let mut answer = query.get(..2)?.to_vec();
        let counts = [flags, 1, u16::try_from(found.len()).ok()?, 0, 0];
        answer.extend(counts.map(u16::to_be_bytes).concat());
        answer.extend(query.get(12..at + 5)?);
        for data in found {
            // The name of the question, class IN, not to be kept.
            let length = u16::try_from(data.len()).ok()?;
            answer.extend([0xc00c, kind, 1, 0, 0, length].map(u16::to_be_bytes).concat());
            answer.extend(data);
        }
        if kind == A
            && let Some(address) = self.rebound.remove(&name)
        {
            self.records.insert((name, A), vec![address]);
        }
        Some(answer)
    }
}

fn encoded(name: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    for label in name.split('.') {
        wire.push(u8::try_from(label.len()).unwrap());
        wire.extend(label.as_bytes());
    }
    wire.push(0);
    wire
}
