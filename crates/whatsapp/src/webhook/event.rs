//! What webhooks tell, in one vocabulary.

use setu_model::{CallFacts, Direction, Pii, Wall};

use crate::permission::{Customer, Fact, FactId, Outcome, Reply};

/// One event with what all have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// The account it is about (WABA), or with a provider the phone number id; empty if it named none.
    pub account: String,
    /// Meta's id of the business number; empty if it named none.
    pub number_id: String,
    /// The business number as displayed, E.164 with `+` if it can be read as one.
    pub number: Option<String>,
    /// When it happened, by the sender's clock.
    pub at: Wall,
    /// The same for each delivery of the same event, and for no other.
    pub key: String,
    /// What happened.
    pub event: Event,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A call begins, or its other side sends its description.
    Connect(Box<Connect>),
    /// A call is over.
    Terminate(Box<Terminate>),
    /// A business-initiated call came a step further.
    Status {
        /// WhatsApp's id of the call.
        wacid: String,
        /// How far.
        status: CallStatus,
        /// What the request said in `biz_opaque_callback_data`.
        opaque: Option<String>,
    },
    /// A call exists (SIP mode, `call_created`).
    Created {
        /// WhatsApp's id of the call.
        wacid: String,
        /// Who began it.
        direction: Option<Direction>,
        /// The other side.
        customer: Customer,
    },
    /// A permission was given or taken.
    Permission {
        /// Id of the message that said so.
        message: String,
        /// By whom.
        customer: Customer,
        /// What was said.
        reply: Reply,
        /// The request or call it answers.
        context: Option<String>,
    },
    /// The customer wrote, whatever it was.
    Message {
        /// Its id.
        message: String,
        /// Who.
        customer: Customer,
    },
    /// Meta warns or restricts the account or number (`account_update`).
    Account {
        /// Such as `ACCOUNT_VIOLATION` or `ACCOUNT_RESTRICTION`.
        event: String,
        /// Each violation's or restriction's type, with the end of the restriction where it names one.
        details: Vec<(String, Option<Wall>)>,
    },
    /// The settings of a number changed (`account_settings_update`).
    Settings,
    /// Something failed outside of any call, such as a missing payment method.
    Errors(Vec<GraphError>),
    /// Nothing this version knows.
    Unknown {
        /// The field it came in, or the provider's event type.
        field: String,
    },
}

/// The beginning of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect {
    /// WhatsApp's id of the call.
    pub wacid: String,
    /// Who began it.
    pub direction: Direction,
    /// The WhatsApp user.
    pub customer: Customer,
    /// The profile name.
    pub name: Option<Pii<String>>,
    /// The description of Meta's side (Graph mode).
    pub session: Option<Session>,
    /// Where to dial (provider's dialect): a SIP URI, not looked at yet.
    pub sip: Option<String>,
    /// What lets the business talk, as the provider says.
    pub permission_source: Option<String>,
    /// Payload of the button that began the call.
    pub cta_payload: Option<String>,
    /// Payload of the deep link that began the call.
    pub deeplink_payload: Option<String>,
    /// What the request said in `biz_opaque_callback_data`.
    pub opaque: Option<String>,
}

/// A session description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Offer or answer.
    pub kind: SessionKind,
    /// The text.
    pub sdp: String,
}

/// What a session description is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionKind {
    /// Of a user-initiated call.
    Offer,
    /// To ours, of a business-initiated call.
    Answer,
}

/// The end of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terminate {
    /// WhatsApp's id of the call.
    pub wacid: String,
    /// Who began it.
    pub direction: Option<Direction>,
    /// The WhatsApp user, where the event names one.
    pub customer: Customer,
    /// Whether it went well. A business-initiated call that nobody answered is completed too, without times.
    pub status: EndStatus,
    /// When it was picked up.
    pub started: Option<Wall>,
    /// When it ended, if it was picked up.
    pub ended: Option<Wall>,
    /// How long it lasted, in seconds, if it was picked up.
    pub duration_s: Option<u64>,
    /// Why it ended, in the provider's words.
    pub cause: Option<String>,
    /// What went wrong.
    pub errors: Vec<GraphError>,
    /// What the request said in `biz_opaque_callback_data`.
    pub opaque: Option<String>,
    /// What the customer did about the number after the call, where a provider tells (`metrics`).
    pub complaints: Vec<Complaint>,
}

/// What a customer does about a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Complaint {
    /// Blocks it.
    Block,
    /// Reports it.
    Report,
}

impl Complaint {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Report => "report",
        }
    }
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndStatus {
    /// `COMPLETED`, or nothing said.
    Completed,
    /// `FAILED`.
    Failed,
}

/// How far a business-initiated call came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallStatus {
    /// The user's phone rings.
    Ringing,
    /// The user answered.
    Accepted,
    /// The user declined.
    Rejected,
}

/// An error as Meta writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraphError {
    /// Meta's code, such as 138006; 0 if it named none.
    pub code: i64,
    /// Its message, or title, or details.
    pub text: String,
}

impl Event {
    /// One word for the metrics.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Terminate(_) => "terminate",
            Self::Status { .. } => "status",
            Self::Created { .. } => "created",
            Self::Permission { .. } => "permission",
            Self::Message { .. } => "message",
            Self::Account { .. } => "account",
            Self::Settings => "settings",
            Self::Errors(_) => "errors",
            Self::Unknown { .. } => "unknown",
        }
    }
}

impl Heard {
    /// What the event means to the permission ledger.
    pub fn facts(&self) -> Option<Facts> {
        let at = self.at;
        let (customer, id, fact) = match &self.event {
            Event::Permission { message, customer, reply, .. } => {
                (customer, format!("reply:{message}"), Fact::Replied { at, reply: reply.clone() })
            }
            Event::Message { message, customer } => {
                (customer, format!("message:{message}"), Fact::Wrote { at })
            }
            Event::Connect(connect) if connect.permission_source.as_deref() == Some("template_button") => {
                (&connect.customer, format!("tap:{}", connect.wacid), Fact::Tapped { at })
            }
            Event::Connect(connect) if connect.direction == Direction::UserInitiated => {
                (&connect.customer, format!("phoned:{}", connect.wacid), Fact::Phoned { at })
            }
            Event::Created { wacid, direction: Some(Direction::UserInitiated), customer } => {
                (customer, format!("phoned:{wacid}"), Fact::Phoned { at })
            }
            Event::Terminate(end) => match end.direction? {
                Direction::UserInitiated => {
                    (&end.customer, format!("phoned:{}", end.wacid), Fact::Phoned { at })
                }
                Direction::BusinessInitiated => {
                    let fact = Fact::Called { at: end.started.unwrap_or(at), outcome: end.outcome() };
                    (&end.customer, format!("called:{}", end.wacid), fact)
                }
            },
            Event::Status { .. }
            | Event::Connect(_)
            | Event::Created { .. }
            | Event::Account { .. }
            | Event::Settings
            | Event::Errors(_)
            | Event::Unknown { .. } => return None,
        };
        (!customer.is_nobody()).then(|| Facts { customer: customer.clone(), id: FactId(id), fact })
    }
}

/// One fact for the permission ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Of whom.
    pub customer: Customer,
    /// Its name.
    pub id: FactId,
    /// What.
    pub fact: Fact,
}

impl Connect {
    /// What the event tells of a call of `number`, E.164 with `+`.
    pub fn facts(&self, number: &str) -> CallFacts {
        let (by_number, user_id) = (&self.customer.wa_id, &self.customer.user_id);
        let customer = by_number.as_ref().map(|digits| format!("+{}", digits.reveal()));
        let customer = customer.or_else(|| user_id.as_ref().map(|id| id.reveal().clone()));
        CallFacts {
            wacid: Some(self.wacid.clone()),
            number: number.to_owned(),
            customer: Pii::new(customer.unwrap_or_default()),
            customer_name: self.name.clone(),
            user_id: user_id.clone(),
            country: None,
            cta_payload: self.cta_payload.clone(),
            deeplink_payload: self.deeplink_payload.clone(),
            permission_source: self.permission_source.clone(),
            ..CallFacts::default()
        }
    }
}

impl Terminate {
    /// Why the call ended, in the words of whoever told it.
    pub fn why(&self) -> Option<String> {
        let error = || self.errors.first().map(|error| format!("{} ({})", error.text, error.code));
        self.cause.clone().or_else(error)
    }

    /// What became of a business-initiated call.
    pub fn outcome(&self) -> Outcome {
        let picked_up = self.started.is_some() || self.duration_s.is_some_and(|seconds| seconds > 0);
        match self.status {
            _ if picked_up => Outcome::Connected,
            EndStatus::Completed => Outcome::Missed,
            EndStatus::Failed => Outcome::Failed,
        }
    }
}
