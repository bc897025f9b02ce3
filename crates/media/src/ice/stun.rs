//! The STUN messages of connectivity checks (RFC 8489, RFC 8445 section 7): Binding requests and their answers, with
//! MESSAGE-INTEGRITY and FINGERPRINT, which are mandatory both ways.

use std::net::{IpAddr, SocketAddr};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;

/// A transaction id.
pub(crate) type Id = [u8; 12];

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Request,
    Success,
    Failure,
}

/// A well-formed Binding message with its integrity not checked yet: only the FINGERPRINT was.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message<'d> {
    pub(crate) class: Class,
    pub(crate) id: Id,
    pub(crate) username: &'d [u8],
    pub(crate) use_candidate: bool,
    pub(crate) priority: Option<u32>,
    /// The tie-breakers of whoever claims a role.
    pub(crate) controlling: Option<u64>,
    pub(crate) controlled: Option<u64>,
    pub(crate) error: Option<u16>,
    signed: &'d [u8],
    integrity: &'d [u8],
}

impl<'d> Message<'d> {
    /// Reads a datagram; `None` for whatever is not exactly one Binding message with MESSAGE-INTEGRITY and, last of
    /// all, a FINGERPRINT that fits. Attributes behind the integrity count for nothing.
    pub(crate) fn parse(datagram: &'d [u8]) -> Option<Self> {
        let (head, mut rest) = datagram.split_first_chunk::<HEADER>()?;
        let [t0, t1, l0, l1, c0, c1, c2, c3, id @ ..] = *head;
        let sound = [c0, c1, c2, c3] == COOKIE && usize::from(u16::from_be_bytes([l0, l1])) == rest.len();
        if !sound || datagram.len() > MOST_BYTES {
            return None;
        }
        let class = match u16::from_be_bytes([t0, t1]) {
            REQUEST => Class::Request,
            SUCCESS => Class::Success,
            FAILURE => Class::Failure,
            _ => return None,
        };
        let mut message = Self {
            class,
            id,
            username: &[],
            use_candidate: false,
            priority: None,
            controlling: None,
            controlled: None,
            error: None,
            signed: &[],
            integrity: &[],
        };
        loop {
            let at = datagram.len() - rest.len();
            let (kind, value, after) = attribute(rest)?;
            if kind == FINGERPRINT {
                let fits = after.is_empty() && value == fingerprint(datagram.get(..at)?).to_be_bytes();
                return (fits && !message.integrity.is_empty()).then_some(message);
            }
            if message.integrity.is_empty() {
                message.take(kind, value, datagram.get(..at)?)?;
            }
            rest = after;
        }
    }

    /// Says whether whoever knows `key` wrote it.
    pub(crate) fn is_from(&self, key: &[u8]) -> bool {
        let Some(mut mac) = mac(key) else { return false };
        let Some((head, body)) = self.signed.split_first_chunk::<HEADER>() else { return false };
        mac.update(&with_length(head, body.len() + 24));
        mac.update(body);
        mac.verify_slice(self.integrity).is_ok()
    }

    /// `None` for an attribute that must be understood and is not.
    fn take(&mut self, kind: u16, value: &'d [u8], before: &'d [u8]) -> Option<()> {
        let number = || value.try_into().ok().map(u64::from_be_bytes);
        match kind {
            USERNAME => self.username = value,
            PRIORITY => self.priority = Some(u32::from_be_bytes(value.try_into().ok()?)),
            USE_CANDIDATE => self.use_candidate = true,
            ICE_CONTROLLING => self.controlling = Some(number()?),
            ICE_CONTROLLED => self.controlled = Some(number()?),
            ERROR_CODE => {
                let [_, _, class, number, ..] = *value else { return None };
                self.error = Some(u16::from(class & 7) * 100 + u16::from(number));
            }
            MESSAGE_INTEGRITY if value.len() == 20 => (self.integrity, self.signed) = (value, before),
            XOR_MAPPED_ADDRESS => {}
            optional if optional >= 0x8000 => {}
            _ => return None,
        }
        Some(())
    }
}

/// A message in the making.
pub(crate) struct Writer {
    buffer: [u8; MOST_BYTES],
    len: usize,
}

impl Writer {
    /// A Binding request toward the owner of `username`'s first half.
    pub(crate) fn request(id: &Id, username: (&str, &str)) -> Self {
        let mut writer = Self::new(REQUEST, id);
        let (theirs, ours) = username;
        writer.attribute(USERNAME, &[theirs.as_bytes(), b":", ours.as_bytes()]);
        writer
    }

    /// The answer to an authenticated request that came from `from`.
    pub(crate) fn success(id: &Id, from: SocketAddr) -> Self {
        let mut writer = Self::new(SUCCESS, id);
        let port = (from.port() ^ u16::from_be_bytes([COOKIE[0], COOKIE[1]])).to_be_bytes();
        match from.ip() {
            IpAddr::V4(v4) => {
                let address = u32::from(v4) ^ u32::from_be_bytes(COOKIE);
                writer.attribute(XOR_MAPPED_ADDRESS, &[&[0, 1], &port, &address.to_be_bytes()]);
            }
            IpAddr::V6(v6) => {
                let mut mask = [0; 16];
                let key = COOKIE.iter().chain(id);
                mask.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
                let address = u128::from(v6) ^ u128::from_be_bytes(mask);
                writer.attribute(XOR_MAPPED_ADDRESS, &[&[0, 2], &port, &address.to_be_bytes()]);
            }
        }
        writer
    }

    /// The answer to an authenticated request that claims our role (RFC 8445 section 7.3.1.1).
    pub(crate) fn role_conflict(id: &Id) -> Self {
        let mut writer = Self::new(FAILURE, id);
        writer.attribute(ERROR_CODE, &[&[0, 0, 4, 87], b"Role Conflict"]);
        writer
    }

    pub(crate) fn priority(&mut self, priority: u32) {
        self.attribute(PRIORITY, &[&priority.to_be_bytes()]);
    }

    pub(crate) fn role(&mut self, controlling: bool, tie_breaker: u64) {
        let kind = if controlling { ICE_CONTROLLING } else { ICE_CONTROLLED };
        self.attribute(kind, &[&tie_breaker.to_be_bytes()]);
    }

    pub(crate) fn use_candidate(&mut self) {
        self.attribute(USE_CANDIDATE, &[]);
    }

    /// Signs the message and returns it.
    pub(crate) fn finish(&mut self, key: &[u8]) -> &[u8] {
        self.set_length(24);
        let tag = mac(key).map(|mut mac| {
            mac.update(self.written());
            mac.finalize().into_bytes()
        });
        self.attribute(MESSAGE_INTEGRITY, &[tag.as_deref().unwrap_or_default()]);
        self.set_length(8);
        let crc = fingerprint(self.written()).to_be_bytes();
        self.attribute(FINGERPRINT, &[&crc]);
        self.set_length(0);
        self.written()
    }

    fn new(kind: u16, id: &Id) -> Self {
        let mut writer = Self { buffer: [0; MOST_BYTES], len: 0 };
        writer.push(&kind.to_be_bytes());
        writer.push(&[0, 0]);
        writer.push(&COOKIE);
        writer.push(id);
        writer
    }

    fn attribute(&mut self, kind: u16, parts: &[&[u8]]) {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        self.push(&kind.to_be_bytes());
        self.push(&u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes());
        parts.iter().for_each(|part| self.push(part));
        self.push([0; 3].get(..len.wrapping_neg() & 3).unwrap_or_default());
    }

    /// What does not fit is left out, and the peer finds the message broken: names are short by their bound.
    fn push(&mut self, bytes: &[u8]) {
        if let Some(to) = self.buffer.get_mut(self.len..self.len + bytes.len()) {
            to.copy_from_slice(bytes);
            self.len += bytes.len();
        }
    }

    fn set_length(&mut self, more: usize) {
        let length = (self.len - HEADER + more) as u16;
        if let Some(field) = self.buffer.get_mut(2..4) {
            field.copy_from_slice(&length.to_be_bytes());
        }
    }

    fn written(&self) -> &[u8] {
        self.buffer.get(..self.len).unwrap_or_default()
    }
}

/// Splits off the first attribute: kind, value, what follows its padding.
fn attribute(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let ([k0, k1, l0, l1], rest) = bytes.split_first_chunk::<4>()?;
    let len = usize::from(u16::from_be_bytes([*l0, *l1]));
    let after = rest.get(len.next_multiple_of(4)..)?;
    Some((u16::from_be_bytes([*k0, *k1]), rest.get(..len)?, after))
}

fn with_length(head: &[u8; HEADER], length: usize) -> [u8; HEADER] {
    let mut head = *head;
    let [_, _, l0, l1, ..] = &mut head;
    [*l0, *l1] = (length as u16).to_be_bytes();
    head
}

fn mac(key: &[u8]) -> Option<Hmac<Sha1>> {
    Hmac::new_from_slice(key).ok()
}

/// RFC 8489 section 14.7: the CRC-32 of all before, made different from other uses of it.
fn fingerprint(bytes: &[u8]) -> u32 {
    let crc = bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    });
    !crc ^ 0x5354_554e
}

/// An address to check, in the form all are compared in.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

const HEADER: usize = 20;
/// Two names of 256 bytes and all else; a check that is longer is none.
const MOST_BYTES: usize = 640;
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const REQUEST: u16 = 0x0001;
const SUCCESS: u16 = 0x0101;
const FAILURE: u16 = 0x0111;
const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const ERROR_CODE: u16 = 0x0009;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const PRIORITY: u16 = 0x0024;
const USE_CANDIDATE: u16 = 0x0025;
const FINGERPRINT: u16 = 0x8028;
const ICE_CONTROLLED: u16 = 0x8029;
const ICE_CONTROLLING: u16 = 0x802a;

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    const UNSPECIFIED: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];

    fn request() -> Vec<u8> {
        let mut writer = Writer::request(&[7; 12], ("them", "us"));
        writer.priority(9);
        writer.role(true, 5);
        writer.use_candidate();
        writer.finish(b"a password==").to_vec()
    }

    /// RFC 5769 section 2.1: the sample request of the standard's own test vectors.
    #[test]
    fn the_sample_request_of_rfc_5769_is_read() {
        let sample: Vec<u8> = [
            "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74",
            "002400046e0001ff80290008932ff9b151263b36000600096576746a3a68367659202020",
            "000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf",
        ]
        .concat()
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect();
        let message = Message::parse(&sample).unwrap();
        assert_eq!((message.class, message.username), (Class::Request, &b"evtj:h6vY"[..]));
        assert_eq!((message.priority, message.controlled), (Some(0x6e00_01ff), Some(0x932f_f9b1_5126_3b36)));
        assert!(message.is_from(b"VOkJxbRl1RmTxUk/WvJxBt"));
        assert!(!message.is_from(b"VOkJxbRl1RmTxUk/WvJxBu"));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let bytes = request();
        let message = Message::parse(&bytes).unwrap();
        assert!(message.is_from(b"a password==") && !message.is_from(b"a password"));
        assert_eq!((message.username, message.use_candidate), (&b"them:us"[..], true));
        assert_eq!((message.controlling, message.controlled, message.error), (Some(5), None, None));
        for ip in UNSPECIFIED {
            let mut answer = Writer::success(&[7; 12], SocketAddr::new(ip, 1));
            assert_eq!(Message::parse(answer.finish(b"k")).unwrap().class, Class::Success);
        }
        let mut conflict = Writer::role_conflict(&[7; 12]);
        assert_eq!(Message::parse(conflict.finish(b"k")).unwrap().error, Some(487));
    }

    /// Anybody can send these, before authentication.
    #[test]
    fn no_bit_may_change_and_no_byte_may_miss() {
        let bytes = request();
        for bit in 0..bytes.len() * 8 {
            let mut forged = bytes.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            let taken = Message::parse(&forged).is_some_and(|message| message.is_from(b"a password=="));
            assert!(!taken, "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(Message::parse(&bytes[..len]).is_none(), "{len} bytes");
        }
        assert!(Message::parse(&[bytes, vec![0; 4]].concat()).is_none());
        assert!(Message::parse(&vec![0; 65_535]).is_none());
    }
}
