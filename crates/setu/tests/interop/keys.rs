//! Agents whose media is encrypted: by SDES, and by DTLS with certificates of both kinds, over ICE and without it.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use setu_model::{Cause, Cdr, Side};
use setu_twin::Person;
use setu_twin::meta::CallSpec;
use setu_twin::shell::Identity;

use crate::calls::{AGENT_HZ, TALK_MS, customer_was_served, heard, recording_holds_both_sides, trunk};
use crate::house::{CUSTOMER, CUSTOMER_HZ, House, NUMBER, NUMBER_PASSWORD, Ports, own_address};
use crate::peers::{Asterisk, AsteriskSpec, Baresip, BaresipSpec, Keying, Process, tool, until};

#[tokio::test(flavor = "multi_thread")]
async fn an_asterisk_with_sdes_answers_a_user() {
    let pbx = Pbx::start("sdes", Keying::Sdes);
    pbx.answers_a_user("AES_CM_128_HMAC_SHA1_80").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_asterisk_for_browsers_with_an_rsa_certificate_answers_a_user() {
    Pbx::start("dtls", webrtc(&["rsa:2048"])).answers_a_user("DTLS-SRTP").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_asterisk_for_browsers_with_an_ecdsa_certificate_calls_a_user() {
    let keying = webrtc(&["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
    Pbx::start("dtls", keying).calls_a_user("DTLS-SRTP").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registered_baresip_answers_with_dtls() {
    baresip_answers("", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registered_baresip_answers_with_dtls_over_ice() {
    // Its ICE does not know of a peer with one component but by RTCP beside RTP.
    baresip_answers(";medianat=ice", true).await;
}

/// A baresip shows an RSA certificate.
async fn baresip_answers(account: &str, rtcp_mux: bool) {
    let ports = Ports::pick();
    let mut house = House::new(
        ports,
        &format!(
            "[[numbers]]\nnumber = \"{NUMBER}\"\npassword = \"{NUMBER_PASSWORD}\"\nagents = [\"alice\"]\n\
             [[accounts]]\nname = \"alice\"\npassword = \"wonderland\"\nsrtp = \"dtls\"\n"
        ),
    );
    // Without ICE a handshake is taken from the described address alone.
    let media = |address: IpAddr| format!("[agents.media]\nbind = \"{address}\"");
    house.config = house.config.replace(&media(Ipv4Addr::LOCALHOST.into()), &media(own_address()));
    let _bridge = house.serve();
    let mut phone = Baresip::start(&BaresipSpec {
        user: "alice",
        password: "wonderland",
        registrar: format!("127.0.0.1:{}", ports.tls),
        transport: "tls",
        account: &format!(";mediaenc=dtls_srtp;audio_codecs=opus/48000/2{account}"),
        rtcp_mux,
        tone_hz: AGENT_HZ,
    });
    let edge = house.edge().await;
    let report = edge.call(customer()).await.unwrap();
    let cdr = house.cdrs(1).remove(0);
    assert_eq!(cdr.termination.cause, Cause::Success, "{cdr:?}\n{}\n{}", phone.output(), house.log());
    customer_was_served(&report);
    call_was_kept(&cdr, "DTLS-SRTP");
    phone.end();
    heard(&phone.heard(), CUSTOMER_HZ);
}

/// An Asterisk as a trunk over TLS, and the bridge beside it.
struct Pbx {
    asterisk: Asterisk,
    house: House,
    _bridge: Process,
}

impl Pbx {
    /// Starts both; `srtp` is the trunk's setting.
    fn start(srtp: &str, keying: Keying) -> Self {
        let ports = Ports::pick();
        let mut house = House::new(ports, "");
        let asterisk = Asterisk::start(&AsteriskSpec {
            keying,
            tls: Some(house.authority.issue(&["127.0.0.1"]).unwrap()),
            ..AsteriskSpec::new(format!("sip:127.0.0.1:{}\\;transport=tls", ports.tls), AGENT_HZ)
        });
        house.config = house.config.replace("[agents]\n", "[agents]\nextra_roots = \"ca.pem\"\n");
        house.config += &trunk(asterisk.port).replace("share_ports = true", "transport = \"tls\"");
        house.config += &format!("srtp = \"{srtp}\"\n");
        let bridge = house.serve();
        Self { asterisk, house, _bridge: bridge }
    }

    async fn answers_a_user(self, keys: &str) {
        let edge = self.house.edge().await;
        let report = edge.call(customer()).await.unwrap();
        let cdr = self.house.cdrs(1).remove(0);
        assert_eq!(cdr.termination.cause, Cause::Success, "{}\n{}", self.asterisk.log(), self.house.log());
        customer_was_served(&report);
        self.heard_a_user(&cdr, keys);
    }

    async fn calls_a_user(self, keys: &str) {
        let edge = self.house.edge().await;
        let next = edge.next_business_call(Duration::from_secs(20));
        self.asterisk.cli(&format!("channel originate PJSIP/{CUSTOMER}@setu extension talk@from-setu"));
        let report = next.await.unwrap_or_else(|| panic!("{}\n{}", self.asterisk.log(), self.house.log()));
        let cdr = self.house.cdrs(1).remove(0);
        assert_eq!(cdr.termination.cause, Cause::Success, "{}\n{}", self.asterisk.log(), self.house.log());
        customer_was_served(&report);
        self.heard_a_user(&cdr, keys);
    }

    fn heard_a_user(&self, cdr: &Cdr, keys: &str) {
        call_was_kept(cdr, keys);
        until("asterisk has hung up", Duration::from_secs(5), || self.asterisk.channels() == 0);
        heard(&self.asterisk.heard(), CUSTOMER_HZ);
    }
}

/// As toward browsers, with a self-signed certificate over a fresh key of that kind.
fn webrtc(kind: &[&str]) -> Keying {
    let folder = tempfile::tempdir().unwrap();
    let path = |name| folder.path().join(name);
    let (certificate, key) = (path("dtls.pem"), path("dtls.key"));
    let how = ["req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=asterisk", "-newkey"];
    let to = ["-keyout", &key.to_string_lossy(), "-out", &certificate.to_string_lossy()];
    tool("openssl", &[&how[..], kind, &to[..]].concat());
    let read = |path| std::fs::read_to_string(path).unwrap();
    Keying::WebRtc(Identity { certificate_pem: read(certificate), key_pem: read(key) })
}

fn customer() -> CallSpec {
    CallSpec::new(CUSTOMER, NUMBER).by(Person::saying(CUSTOMER_HZ).hanging_up_after(TALK_MS))
}

fn call_was_kept(cdr: &Cdr, keys: &str) {
    let agent = cdr.legs.iter().find(|leg| leg.side == Side::Agents).unwrap();
    assert_eq!((agent.codec.as_deref(), agent.srtp.as_deref()), (Some("opus"), Some(keys)), "{agent:?}");
    recording_holds_both_sides(cdr);
}
