//! Meta's handwriting.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use setu_model::Entropy;

use super::quirks::{ParentUserId, Quirks};
use super::spec::CallSpec;

pub(crate) const ALLOW: &str = "Allow: INVITE, ACK, BYE, CANCEL, NOTIFY, OPTIONS";
pub(crate) const USER_AGENT: &str = "User-Agent: Facebook SipGateway";

/// The inner hop: a name nobody outside Meta can resolve, on purpose.
const INNER_ROUTE: &str = "<sip:onevc-sip-proxy.fbinfra.net:8191;transport=tls;lr>";

/// Meta's two routes as the bridge must use them: the public one first.
pub(crate) fn routes(domain: &str) -> [String; 2] {
    [format!("<sip:{domain};transport=tls;lr>"), INNER_ROUTE.to_owned()]
}

/// The Via lines of a request, the top one with `branch`.
pub(crate) fn vias(quirks: &Quirks, branch: &str) -> Vec<String> {
    let hosts = if quirks.ipv6_vias { HOSTS_V6 } else { HOSTS_V4 };
    let hops = usize::from(quirks.via_count.clamp(1, 3));
    let vias = hosts.iter().zip(PORTS).take(hops).enumerate().map(|(hop, (host, port))| match hop {
        0 => format!("Via: SIP/2.0/TLS {host}:{port};rport;branch={branch};alias"),
        _ => format!("Via: SIP/2.0/TLS {host}:{port};rport={port};branch={branch}-{hop};alias"),
    });
    vias.collect()
}

const HOSTS_V6: [&str; 3] =
    ["[2803:6080:c8b0:5a4::2]", "[2401:db00:eef0:1120:3520:0:1409:b14]", "[2a03:2880:f0fc:1c:face:b00c:0:2]"];
const HOSTS_V4: [&str; 3] = ["192.0.2.81", "192.0.2.82", "192.0.2.83"];
const PORTS: [u16; 3] = [57_363, 41_422, 8_191];

/// A branch in PJSIP's style.
pub(crate) fn branch(entropy: &mut dyn Entropy) -> String {
    format!("z9hG4bKPj{}", entropy.hex(16))
}

pub(crate) fn uuid(entropy: &mut dyn Entropy) -> String {
    format!(
        "{}-{}-4{}-8{}-{}",
        entropy.hex(4),
        entropy.hex(2),
        &entropy.hex(2)[1..],
        &entropy.hex(2)[1..],
        entropy.hex(6)
    )
}

/// A call id in WhatsApp's style: base64 of 22 bytes ends in `==`.
pub(crate) fn wacid(padded: bool, entropy: &mut dyn Entropy) -> String {
    let mut bytes = [0; 22];
    entropy.fill(&mut bytes);
    let text = STANDARD.encode(bytes);
    let text = if padded { text.as_str() } else { text.trim_end_matches('=') };
    format!("wacid.HBgL{text}")
}

/// The name-addr of the user as `From` of a call and `To` of a business's call.
pub(crate) fn user_address(user: &str, domain: &str) -> String {
    format!("<sip:{user}@{domain}>")
}

/// The Contact URI of a user's call.
pub(crate) fn contact_uri(user: &str, domain: &str) -> String {
    format!("sip:{user}@{domain};transport=tls;ob")
}

/// The Contact URI in the answer to a business's call.
pub(crate) fn answering_contact_uri(user: &str, domain: &str) -> String {
    format!("sip:{user}@{domain};transport=tls;ob;X-FB-Sip-Smc-Tier=collaboration.sip_gateway.sip.prod")
}

/// The Request-URI of a user's call.
pub(crate) fn request_uri(number: &str, params: &[(String, String)], host: &str, quirks: &Quirks) -> String {
    let params: String = params.iter().map(|(key, value)| format!(";{key}={value}")).collect();
    let transport = if quirks.transport_param { ";transport=tls" } else { "" };
    format!("sip:{number}{params}@{host}{transport}")
}

pub(crate) fn external_domain(quirks: &Quirks, domain: &str) -> Vec<String> {
    if quirks.external_domain_header { vec![format!("X-FB-External-Domain: {domain}")] } else { Vec::new() }
}

/// The headers that tell who the user is.
pub(crate) fn user_headers(quirks: &Quirks, spec: &CallSpec) -> Vec<String> {
    let mut lines = Vec::new();
    if quirks.user_headers {
        let id = spec.user_id.clone().unwrap_or_else(|| user_id(&spec.user));
        lines.push(format!("x-wa-meta-user-id: {id}"));
        lines.extend(spec.name.iter().map(|name| format!("x-wa-meta-user-name: {name}")));
        lines.push(format!("x-wa-meta-user-country-code: {}", spec.country.as_deref().unwrap_or("US")));
        match quirks.parent_user_id {
            ParentUserId::Absent => {}
            ParentUserId::Underscore => {
                lines.push(format!("x-wa_meta-parent-user-id: US.ENT.{}", digits(&id)))
            }
            ParentUserId::Hyphen => lines.push(format!("x-wa-meta-parent-user-id: US.ENT.{}", digits(&id))),
        }
    }
    lines.extend(spec.cta_payload.iter().map(|payload| format!("x-wa-meta-cta-payload: {payload}")));
    lines
        .extend(spec.deeplink_payload.iter().map(|payload| format!("x-wa-meta-deeplink-payload: {payload}")));
    lines
}

/// A business-scoped user id made of the number's digits: the same user has the same id.
fn user_id(user: &str) -> String {
    if user.starts_with('+') { format!("US.{}9", digits(user)) } else { user.to_owned() }
}

fn digits(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}
