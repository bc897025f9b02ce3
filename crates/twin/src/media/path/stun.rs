//! STUN as ICE uses it (RFC 8489, RFC 8445 section 7), by `rtc-stun`.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use bytes::Bytes;
use rtc_ice::crypto::providers::RingCrypto;
use rtc_stun::attributes::{ATTR_ICE_CONTROLLED, ATTR_USE_CANDIDATE, ATTR_USERNAME};
use rtc_stun::error_code::CODE_ROLE_CONFLICT;
use rtc_stun::fingerprint::FINGERPRINT;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{BINDING_ERROR, BINDING_REQUEST, BINDING_SUCCESS, Message, Setter};
use rtc_stun::xoraddr::XorMappedAddress;
use setu_model::Entropy;

/// `ice-ufrag` and `ice-pwd`, as written: a padded password is a key with its padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) fragment: String,
    pub(crate) password: String,
}

impl Credentials {
    /// Makes fresh ones: 96 and 128 bits. `padded` leaves base64's `==` at the end of the password, as Meta does.
    pub(crate) fn fresh(padded: bool, entropy: &mut dyn Entropy) -> Self {
        let (mut fragment, mut password) = ([0; 12], [0; 16]);
        entropy.fill(&mut fragment);
        entropy.fill(&mut password);
        let password = if padded { STANDARD.encode(password) } else { STANDARD_NO_PAD.encode(password) };
        Self { fragment: STANDARD_NO_PAD.encode(fragment), password }
    }
}

/// A check, read and found authentic.
#[derive(Debug)]
pub(super) struct Check {
    message: Message,
    /// USERNAME: the receiver's fragment, a colon, the sender's.
    pub(super) sender: String,
    pub(super) claims_controlled: bool,
    pub(super) nominates: bool,
}

impl Check {
    /// Reads a Binding request to `ours`. `None` for anything that is not one, or is not authentic: FINGERPRINT,
    /// USERNAME and MESSAGE-INTEGRITY must all be there and right (RFC 8445 section 7.3).
    pub(super) fn read(bytes: &[u8], ours: &Credentials) -> Option<Self> {
        let mut message = parse(bytes)?;
        let sender = username(&message)?.strip_prefix(&ours.fragment)?.strip_prefix(':')?.to_owned();
        FINGERPRINT.check(&message).ok()?;
        MessageIntegrity::check(&mut message, ours.password.as_bytes(), &RingCrypto).ok()?;
        Some(Self {
            sender,
            claims_controlled: message.contains(ATTR_ICE_CONTROLLED),
            nominates: message.contains(ATTR_USE_CANDIDATE),
            message,
        })
    }

    /// The success response: where the check came from, keyed with our password.
    pub(super) fn success(&self, from: SocketAddr, ours: &Credentials) -> Option<Bytes> {
        let seen = XorMappedAddress { ip: from.ip(), port: from.port() };
        self.reply(Box::new(BINDING_SUCCESS), Box::new(seen), ours)
    }

    /// 487: both claim to be controlled (RFC 8445 section 7.3.1.1).
    pub(super) fn role_conflict(&self, ours: &Credentials) -> Option<Bytes> {
        self.reply(Box::new(BINDING_ERROR), Box::new(CODE_ROLE_CONFLICT), ours)
    }

    fn reply(&self, kind: Box<dyn Setter>, body: Box<dyn Setter>, ours: &Credentials) -> Option<Bytes> {
        let key = ours.password.clone();
        let integrity = MessageIntegrity::new_short_term_integrity_with_provider(key, &RingCrypto);
        let mut reply = Message::new();
        reply.transaction_id = self.message.transaction_id;
        reply
            .build(&[
                Box::new(self.message.transaction_id),
                kind,
                body,
                Box::new(integrity),
                Box::new(FINGERPRINT),
            ])
            .ok()?;
        Some(Bytes::from(reply.raw))
    }
}

/// Whether a datagram is STUN (RFC 7983 section 7).
pub(crate) fn is_stun(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|first| *first < 4)
}

/// The fragment a check is addressed to, before anything of it is proved.
pub(crate) fn addressee(bytes: &[u8]) -> Option<String> {
    let name = username(&parse(bytes)?)?;
    Some(name.split_once(':')?.0.to_owned())
}

fn parse(bytes: &[u8]) -> Option<Message> {
    let mut message = Message { raw: bytes.to_vec(), ..Message::default() };
    message.decode().ok()?;
    (message.typ == BINDING_REQUEST).then_some(message)
}

fn username(message: &Message) -> Option<String> {
    String::from_utf8(message.get(ATTR_USERNAME).ok()?).ok()
}
