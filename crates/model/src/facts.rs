use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Pii;

/// Who began the call, in Meta's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The WhatsApp user called the business.
    UserInitiated,
    /// The business called the WhatsApp user.
    BusinessInitiated,
}

/// How the Meta leg of a call came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ingress {
    /// SIP over TLS.
    Sip,
    /// A provider's webhook named a SIP URI, which the bridge dialled over TLS.
    ProviderUri,
    /// Meta's Graph requests and webhooks.
    Graph,
}

/// Which of the bridge's two faces something belongs to. Each has its own bind and advertised addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The public side, toward Meta.
    Meta,
    /// The private side, toward PBXs and agents.
    Agents,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Meta => "meta",
            Self::Agents => "agents",
        })
    }
}

/// What is known of a WhatsApp call besides its audio: who, through which number, and from which button.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallFacts {
    /// WhatsApp's id of the call (`wacid...`). Business-initiated calls learn it from Meta's BYE.
    pub wacid: Option<String>,
    /// The business number, E.164 with `+`.
    pub number: String,
    /// The customer: E.164 with `+`, or a business-scoped user id where Meta gives no number.
    pub customer: Pii<String>,
    /// The customer's display name, where Meta gives one.
    pub customer_name: Option<Pii<String>>,
    /// Business-scoped user id (`x-wa-meta-user-id`).
    pub user_id: Option<Pii<String>>,
    /// The customer's country (ISO 3166-1 alpha-2), where Meta gives it.
    pub country: Option<String>,
    /// Payload of the call button the customer tapped (`x-wa-meta-cta-payload`).
    pub cta_payload: Option<String>,
    /// Payload of the deep link the customer followed (`x-wa-meta-deeplink-payload`).
    pub deeplink_payload: Option<String>,
    /// What lets the business talk to the customer, as the webhook that told of the call said.
    #[serde(default)]
    pub permission_source: Option<String>,
    /// What the call is for: the name of a use case.
    #[serde(default)]
    pub use_case: Option<String>,
    /// What whoever placed the call gave along for the agent.
    #[serde(default)]
    pub payload: Option<String>,
    /// The queue it is for, by the name that whoever placed it knows.
    #[serde(default)]
    pub queue: Option<String>,
    /// What the call belongs to elsewhere, such as a ticket's number.
    #[serde(default)]
    pub reference: Option<String>,
}
