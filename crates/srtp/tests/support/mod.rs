//! Packets and keys that the tests share.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test file uses its own part, and a panic is a failed test"
)]

use setu_srtp::rtp::Header;
use setu_srtp::{Receiver, Sender, Suite, rtcp};

pub(crate) const SSRC: u32 = 0xcafe_babe;

/// A key and salt of the lengths that `suite` wants.
pub(crate) fn keying(suite: Suite) -> (Vec<u8>, Vec<u8>) {
    let key = (0..suite.key_len()).map(|i| (i * 17 + 3) as u8).collect();
    let salt = (0..suite.salt_len()).map(|i| (i * 29 + 5) as u8).collect();
    (key, salt)
}

pub(crate) fn sender(suite: Suite) -> Sender {
    let (key, salt) = keying(suite);
    Sender::new(suite, &key, &salt).unwrap()
}

pub(crate) fn receiver(suite: Suite) -> Receiver {
    let (key, salt) = keying(suite);
    Receiver::new(suite, &key, &salt).unwrap()
}

/// A plain voice packet.
pub(crate) fn voice(ssrc: u32, sequence: u16, payload: usize) -> Vec<u8> {
    let mut packet = vec![0; 12 + payload];
    let payload: Vec<u8> = (0..payload).map(|i| (i as u8) ^ (sequence as u8)).collect();
    Header::new(111, sequence, u32::from(sequence) * 960, ssrc).write(&payload, &mut packet).unwrap();
    packet
}

/// A plain RTCP compound.
pub(crate) fn report(ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0; 200];
    let mut writer = rtcp::Writer::new(&mut packet);
    let ntp = rtcp::NtpTime::from_unix_ms(1_700_000_000_000);
    let info = rtcp::SenderInfo { ssrc, ntp, timestamp: 960, packets: 1, octets: 80 };
    writer.sender_report(&info, &[]).unwrap();
    writer.cname(ssrc, b"setu@example").unwrap();
    let len = writer.finish();
    packet.truncate(len);
    packet
}

pub(crate) fn protect_rtp(sender: &mut Sender, plain: &[u8]) -> Vec<u8> {
    let mut buffer = plain.to_vec();
    buffer.resize(plain.len() + 16, 0);
    let len = sender.protect_rtp(&mut buffer, plain.len()).unwrap();
    buffer.truncate(len);
    buffer
}

pub(crate) fn protect_rtcp(sender: &mut Sender, plain: &[u8]) -> Vec<u8> {
    let mut buffer = plain.to_vec();
    buffer.resize(plain.len() + 20, 0);
    let len = sender.protect_rtcp(&mut buffer, plain.len()).unwrap();
    buffer.truncate(len);
    buffer
}

pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}
