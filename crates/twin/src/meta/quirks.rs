use serde::{Deserialize, Serialize};

use super::spec::KeyExchange;
use crate::media::{Codec, Impairment, Setup};
use crate::sip::digest::Algorithm;

/// Every point on which Meta's edge is peculiar, or on which the sources disagree: one switch each.
///
/// The default is the most faithful edge known. A test turns one switch and sees whether the bridge notices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quirks {
    // -- TLS
    /// Refuse a client that offers ALPN (alert 120 `no_application_protocol` on sockets).
    pub alpn_refused: bool,
    /// Ask connecting bridges for a client certificate (none is required).
    pub request_client_cert: bool,
    /// As TLS client, show a certificate (CN `client.sip.fbclientcerts.com`) if the bridge asks for one.
    pub present_client_cert: bool,
    /// Open a new connection for every call instead of reusing the one to the same host.
    pub connection_per_call: bool,

    // -- The text of requests
    /// Vias on a request, 1 to 3: one for each hop inside Meta.
    pub via_count: u8,
    /// Write IPv6 addresses in Vias; off, documentation addresses of IPv4.
    pub ipv6_vias: bool,
    /// Pad `Content-Length` to five columns.
    pub content_length_padded: bool,
    /// Write `Content-Length` twice, with the same value.
    pub content_length_twice: bool,
    /// Send `x-wa-meta-wacid` in the INVITE.
    pub wacid_header: bool,
    /// End the wacid with `==`, as base64 does.
    pub wacid_padded: bool,
    /// Put `X-FB-External-Domain: wa.meta.vc` into requests and responses.
    pub external_domain_header: bool,
    /// Send `x-wa-meta-user-id`, `-user-name` and `-user-country-code`.
    pub user_headers: bool,
    /// The spelling of the parent user id header.
    pub parent_user_id: ParentUserId,
    /// Put `;transport=tls` into Request-URIs.
    pub transport_param: bool,

    // -- Digest, answering the bridge
    /// Algorithms of challenges that are answered. Empty: a challenge ends the call.
    pub answers_algorithms: Vec<Algorithm>,
    /// Name the algorithm in the answer.
    pub names_algorithm: bool,
    /// Leave `;transport=tls` out of the digest `uri`.
    pub digest_uri_bare: bool,
    /// Write the user name with the `+` of the number.
    pub username_plus: bool,

    // -- Digest, challenging the bridge
    /// Algorithms offered in the 407, in this order. Empty: no challenge at all.
    pub challenge_algorithms: Vec<Algorithm>,
    /// The To tag of the 407 is the Via branch: the challenge keeps no state.
    pub stateless_to_tag: bool,

    // -- Dialogs
    /// ACK a 200 only if its last two Record-Routes are Meta's, untouched and in order.
    pub ack_only_if_routes_untouched: bool,
    /// Answer 404 to a BYE, and ignore an ACK, whose routes or Request-URI are wrong.
    pub wrong_routes_refused: bool,
    /// Answer OPTIONS with 200; off, ignore it.
    pub options_answered: bool,
    /// The response to a re-INVITE.
    pub reinvite_status: u16,
    /// The response to UPDATE, REFER, INFO, PRACK, MESSAGE, SUBSCRIBE, PUBLISH (405 or 501; not documented).
    pub unsupported_status: u16,
    /// The response to REGISTER.
    pub register_status: u16,
    /// Refuse a second call between the same two numbers: 403.
    pub duplicates_refused: bool,
    /// Concurrent user-initiated calls per number; above it the business sees no INVITE.
    pub concurrent_calls: usize,

    // -- Business-initiated calls, before the answer
    /// Send 100.
    pub trying: bool,
    /// How ringing is told.
    pub ringing: Ringing,
    /// How long a user lets a business's call ring before 480, and a business a user's before CANCEL, in
    /// milliseconds.
    pub ring_window_ms: u64,

    // -- The end
    /// Send `x-wa-meta-wacid` in BYE.
    pub bye_wacid: bool,
    /// Send `x-wa-meta-call-duration` in BYE of an answered call.
    pub bye_duration: bool,

    // -- Session descriptions
    /// The profile of the media line.
    pub profile: Profile,
    /// Answer `rtcp-mux` and BUNDLE even where the offer has neither.
    pub mux_always: bool,
    /// Payload type of Opus in offers.
    pub opus_pt: u8,
    /// Payload type of telephone events in offers, and in answers to offers without any.
    pub event_pt: u8,
    /// G.711 enabled by `additional_codecs`; Opus cannot be removed.
    pub additional_codecs: Vec<Codec>,
    /// Refuse a description whose ptime is not 20 as an SDP validation error.
    pub ptime_strict: bool,

    // -- ICE and DTLS
    /// How media is keyed; as the number is configured if null.
    pub key_exchange: Option<KeyExchange>,
    /// End `ice-pwd` with base64's `==`, which the grammar of RFC 8839 does not have.
    pub ice_pwd_padded: bool,
    /// Describe an IPv6 candidate beside the IPv4 one.
    pub ipv6_candidate: bool,
    /// Leave checks unanswered until the business's description is applied.
    pub checks_wait_for_answer: bool,
    /// Answer 487 to a check that claims to be controlled: that is what Meta is.
    pub role_conflict_refused: bool,
    /// Take the business from addresses that its description does not hold.
    pub learns_peer_reflexive: bool,
    /// Go on answering checks once a pair is nominated; off, the business loses consent (RFC 7675).
    pub consent_answered: bool,
    /// `a=setup` in answers to offers of `actpass`; with `actpass` Meta waits for the ClientHello.
    pub answer_setup: Setup,
    /// Lose that many of the first datagrams of the business's handshake.
    pub handshake_datagrams_lost: u32,
    /// Describe another certificate than the one that is shown.
    pub fingerprint_forged: bool,

    // -- Media
    /// Send nothing before the first authentic packet from the business.
    pub waits_for_first_packet: bool,
    /// The user hangs up if nothing was heard this long after the answer, in milliseconds.
    pub start_timer_ms: u64,
    /// The user hangs up if nothing was heard this long in mid-call, in milliseconds.
    pub mid_timer_ms: u64,
    /// RTCP keeps the mid-call timer from firing.
    pub rtcp_resets_mid_timer: bool,
    /// A second SSRC mutes the rest of the call; it is flagged in any case.
    pub second_ssrc_mutes: bool,
    /// Take media from another address than described, once it authenticates.
    pub latches: bool,
    /// Interval of RTCP reports in milliseconds; 0 sends none.
    pub rtcp_interval_ms: u64,
    /// What the user's own line does to what they say.
    pub impairment: Impairment,
}

impl Default for Quirks {
    fn default() -> Self {
        Self {
            alpn_refused: true,
            request_client_cert: false,
            present_client_cert: true,
            connection_per_call: false,
            via_count: 2,
            ipv6_vias: true,
            content_length_padded: true,
            content_length_twice: false,
            wacid_header: true,
            wacid_padded: true,
            external_domain_header: true,
            user_headers: true,
            parent_user_id: ParentUserId::Underscore,
            transport_param: true,
            answers_algorithms: vec![Algorithm::Sha256, Algorithm::Md5],
            names_algorithm: true,
            digest_uri_bare: true,
            username_plus: false,
            challenge_algorithms: vec![Algorithm::Md5],
            stateless_to_tag: true,
            ack_only_if_routes_untouched: true,
            wrong_routes_refused: true,
            options_answered: true,
            reinvite_status: 500,
            unsupported_status: 405,
            register_status: 403,
            duplicates_refused: true,
            concurrent_calls: 1_000,
            trying: true,
            ringing: Ringing::Ringing,
            ring_window_ms: 60_000,
            bye_wacid: true,
            bye_duration: true,
            profile: Profile::Savp,
            mux_always: true,
            opus_pt: 111,
            event_pt: 126,
            additional_codecs: Vec::new(),
            ptime_strict: true,
            key_exchange: None,
            ice_pwd_padded: true,
            ipv6_candidate: true,
            checks_wait_for_answer: true,
            role_conflict_refused: true,
            learns_peer_reflexive: true,
            consent_answered: true,
            answer_setup: Setup::Active,
            handshake_datagrams_lost: 0,
            fingerprint_forged: false,
            waits_for_first_packet: true,
            start_timer_ms: 20_000,
            mid_timer_ms: 30_000,
            rtcp_resets_mid_timer: true,
            second_ssrc_mutes: true,
            latches: true,
            rtcp_interval_ms: 5_000,
            impairment: Impairment::default(),
        }
    }
}

/// How ringing is told. Meta's way is not documented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ringing {
    /// Not at all: 100, then the answer.
    Nothing,
    /// 180.
    Ringing,
    /// 183 without a description.
    Progress,
    /// 183 with a description, and audio before the answer.
    EarlyMedia,
}

/// The profile of Meta's media line with SDES keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Profile {
    /// `RTP/SAVP`.
    #[serde(rename = "RTP/SAVP")]
    Savp,
    /// `UDP/TLS/RTP/SAVPF`, seen live in spite of the keys being in the description.
    #[serde(rename = "UDP/TLS/RTP/SAVPF")]
    DtlsSavpf,
}

impl Profile {
    /// The token of the media line.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Savp => "RTP/SAVP",
            Self::DtlsSavpf => "UDP/TLS/RTP/SAVPF",
        }
    }
}

/// The spelling of the header with the parent business-scoped user id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParentUserId {
    /// Not sent.
    Absent,
    /// `x-wa_meta-parent-user-id`, as Meta's page prints it.
    Underscore,
    /// `x-wa-meta-parent-user-id`.
    Hyphen,
}
