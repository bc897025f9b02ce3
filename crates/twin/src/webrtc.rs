//! A WebRTC end that shares no code with the twins, for their tests: ICE by `is`, DTLS by `rtc-dtls`.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use is::stun::{StunMessage, StunPacket};
use is::{Candidate, IceAgent, IceAgentEvent, IceCreds, Protocol};
use rtc_dtls::config::{ClientAuthType, ConfigBuilder, HandshakeConfig};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_shared::TransportProtocol;
use setu_model::{Now, Secret};
use sha2::{Digest as _, Sha256};

use crate::media::{CryptoLine, Suite};

/// One end: an ICE agent and a DTLS association behind one address.
pub(crate) struct Webrtc {
    pub(crate) local: SocketAddr,
    pub(crate) ice: IceAgent,
    dtls: Endpoint,
    config: Arc<HandshakeConfig>,
    client: bool,
    fingerprint: String,
    /// The address ICE chose.
    pub(crate) remote: Option<SocketAddr>,
    /// Ours and theirs.
    pub(crate) keys: Option<(CryptoLine, CryptoLine)>,
    /// SHA-256 of the certificate the other end showed, as a description has it.
    pub(crate) shown: Option<String>,
    pub(crate) transmits: VecDeque<(SocketAddr, Bytes)>,
}

/// The suites one end may offer, in its order.
pub(crate) const SUITES: [SrtpProtectionProfile; 3] = [
    SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
    SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
    SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm,
];

impl Webrtc {
    pub(crate) fn new(local: SocketAddr, client: bool, suites: &[SrtpProtectionProfile]) -> Self {
        let mut ice = IceAgent::new(IceCreds::new());
        ice.add_local_candidate(Candidate::host(local, "udp").unwrap());
        let provider = rtc_ice::crypto::default_provider().unwrap();
        let certificate =
            Certificate::generate_self_signed(vec!["bridge.test".to_owned()], provider.crypto()).unwrap();
        let fingerprint = print(certificate.certificate[0].as_ref());
        let config = ConfigBuilder::default()
            .with_crypto_provider(provider)
            .with_certificates(vec![certificate])
            .with_srtp_protection_profiles(suites.to_vec())
            .with_client_auth(ClientAuthType::RequireAnyClientCert)
            .with_insecure_skip_verify(true)
            .with_flight_interval(Duration::from_millis(100))
            .build(client, None)
            .unwrap();
        let config = Arc::new(config);
        let server = (!client).then(|| config.clone());
        let dtls = Endpoint::new(local, TransportProtocol::UDP, server);
        Self {
            local,
            ice,
            dtls,
            config,
            client,
            fingerprint,
            remote: None,
            keys: None,
            shown: None,
            transmits: VecDeque::new(),
        }
    }

    /// The lines of a description, with `setup`.
    pub(crate) fn lines(&self, setup: &str) -> String {
        let creds = self.ice.local_credentials();
        format!(
            "a=candidate:1 1 udp 2130706431 {} {} typ host\r\na=ice-ufrag:{}\r\na=ice-pwd:{}\r\n\
             a=fingerprint:sha-256 {}\r\na=setup:{setup}\r\n",
            self.local.ip(),
            self.local.port(),
            creds.ufrag,
            creds.pass,
            self.fingerprint
        )
    }

    /// Learns the other end's credentials and candidates from its description, and begins.
    pub(crate) fn connect(&mut self, sdp: &str, controlling: bool) {
        let value = |name: &str| sdp.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned();
        let creds = IceCreds { ufrag: value("a=ice-ufrag:"), pass: value("a=ice-pwd:") };
        self.ice.set_controlling(controlling);
        self.ice.set_ice_lite(!controlling);
        self.ice.set_remote_credentials(creds);
        for line in sdp.lines().filter(|line| line.starts_with("a=candidate:")) {
            self.ice.add_remote_candidate(Candidate::from_sdp_string(&line[2..]).unwrap());
        }
    }

    /// Takes one datagram; returns whether it is neither ICE's nor DTLS's.
    pub(crate) fn handle(&mut self, from: SocketAddr, bytes: &[u8], now: Now) -> bool {
        match bytes[0] {
            0..=3 => {
                let message = StunMessage::parse(bytes).unwrap();
                let (proto, source, destination) = (Protocol::Udp, from, self.local);
                self.ice.handle_packet(now.mono, StunPacket { proto, source, destination, message });
                self.ice.handle_timeout(now.mono);
            }
            20..=63 => {
                let events = self.dtls.read(now.mono, from, None, BytesMut::from(bytes)).unwrap();
                if events.iter().any(|event| matches!(event, EndpointEvent::HandshakeComplete)) {
                    self.export(from);
                }
            }
            _ => return true,
        }
        self.follow(now);
        false
    }

    pub(crate) fn handle_timeout(&mut self, now: Now) {
        self.ice.handle_timeout(now.mono);
        if let Some(remote) = self.remote {
            let _ = self.dtls.handle_timeout(remote, now.mono);
        }
        self.follow(now);
    }

    fn follow(&mut self, now: Now) {
        while let Some(event) = self.ice.poll_event() {
            if let IceAgentEvent::NominatedSend { destination, .. } = event
                && self.remote.replace(destination).is_none()
                && self.client
            {
                self.dtls.connect(now.mono, destination, self.config.clone(), None).unwrap();
            }
        }
        while let Some(sent) = self.ice.poll_transmit() {
            self.transmits.push_back((sent.destination, Bytes::from(Vec::from(sent.contents))));
        }
        while let Some(sent) = self.dtls.poll_transmit() {
            self.transmits.push_back((sent.transport.peer_addr, sent.message.freeze()));
        }
    }

    fn export(&mut self, from: SocketAddr) {
        let state = self.dtls.get_connection_state(from).unwrap();
        self.shown = state.peer_certificates.first().map(|der| print(der));
        let suite = match state.srtp_protection_profile() {
            SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80 => Suite::AesCm128HmacSha1_80,
            SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm => Suite::AeadAes128Gcm,
            SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm => Suite::AeadAes256Gcm,
            SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_32 | SrtpProtectionProfile::Unsupported | _ => {
                panic!("no suite")
            }
        };
        let (key, salt) = (suite.key_len(), suite.salt_len());
        let all = state.export_keying_material("EXTRACTOR-dtls_srtp", &[], 2 * (key + salt)).unwrap();
        let all = all.as_ref();
        let line = |n: usize| {
            let parts = [&all[n * key..][..key], &all[2 * key + n * salt..][..salt]];
            CryptoLine { tag: 0, suite, material: Secret::new(parts.concat()) }
        };
        self.keys = Some(if self.client { (line(0), line(1)) } else { (line(1), line(0)) });
    }
}

fn print(der: &[u8]) -> String {
    let hex: Vec<String> = Sha256::digest(der).iter().map(|byte| format!("{byte:02X}")).collect();
    hex.join(":")
}
