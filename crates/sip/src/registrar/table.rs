use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::{Binding, BindingChange, BindingId, Vanished};
use crate::address::{Contacts, NameAddr};
use crate::dialog::{hop_of, is_behind_nat};
use crate::endpoint::Limits;
use crate::flow::{Arrival, FlowId, Hop};
use crate::message::Message;
use crate::uri::{Scheme, Uri};

/// The bindings of all accounts.
#[derive(Debug, Default)]
pub(crate) struct Registrar {
    accounts: BTreeMap<String, Vec<Entry>>,
    /// The accounts that came on a flow.
    by_flow: BTreeSet<(FlowId, String)>,
    /// The earliest expiry of each account.
    by_expiry: BTreeSet<(Instant, String)>,
    bindings: usize,
    last: u64,
}

#[derive(Debug, Clone)]
struct Entry {
    binding: Binding,
    uri: Uri,
    call_id: String,
    cseq: u32,
    refreshed_at: Instant,
    expires_at: Instant,
}

/// What a REGISTER came to.
#[derive(Debug)]
pub(crate) enum Registration {
    /// 200, with these Contact values.
    Accepted { contacts: Vec<String>, changes: Vec<BindingChange> },
    /// Refused; 423 carries Min-Expires.
    Refused { status: u16, reason: &'static str },
}

/// One contact of a REGISTER, read and checked.
struct Wish {
    contact: String,
    uri: Uri,
    q: u16,
    expires_s: u32,
}

impl Registrar {
    /// Takes a REGISTER of a proven account.
    ///
    /// All of it is done or nothing (RFC 3261 section 10.3 step 7): whatever is wrong is found before the first
    /// change.
    pub(crate) fn register(
        &mut self,
        account: &str,
        request: &Message,
        arrival: &Arrival,
        limits: &Limits,
        now: Instant,
    ) -> Registration {
        let (Ok(call_id), Ok(cseq)) = (request.call_id(), request.cseq()) else {
            return refused(400, "Bad Call-ID or CSeq");
        };
        let wishes = match wishes_of(request, limits) {
            Ok(wishes) => wishes,
            Err((status, reason)) => return refused(status, reason),
        };
        let entries = self.accounts.get(account).map(Vec::as_slice).unwrap_or_default();
        let wanted = |entry: &Entry| match &wishes {
            Wishes::None => false,
            Wishes::RemoveAll => true,
            Wishes::Some(wishes) => wishes.iter().any(|wish| wish.uri.is_equivalent(&entry.uri)),
        };
        if entries.iter().any(|entry| wanted(entry) && entry.call_id == call_id && cseq.number <= entry.cseq)
        {
            return refused(500, "CSeq Out of Order");
        }
        let mut entries = self.take(account);
        let mut changes = Vec::new();
        match wishes {
            Wishes::None => {}
            Wishes::RemoveAll => {
                changes.extend(entries.drain(..).map(|entry| vanished(entry, Vanished::Removed)));
            }
            Wishes::Some(wishes) => {
                for wish in wishes {
                    self.last += 1;
                    let id = BindingId(self.last);
                    let fresh = (wish.expires_s > 0)
                        .then(|| entry_of(id, account, &wish, (call_id, cseq.number), request, arrival, now))
                        .flatten();
                    apply(&mut entries, &wish, fresh, limits.contacts, &mut changes);
                }
            }
        }
        let contacts = entries.iter().map(|entry| written(entry, now)).collect();
        self.put(account, entries);
        Registration::Accepted { contacts, changes }
    }

    /// The bindings of an account, the preferred first.
    pub(crate) fn bindings(&self, account: &str) -> Vec<Binding> {
        let mut bindings: Vec<Binding> = self
            .accounts
            .get(account)
            .map(|entries| entries.iter().map(|entry| entry.binding.clone()).collect())
            .unwrap_or_default();
        bindings.sort_by_key(|binding| std::cmp::Reverse(binding.q));
        bindings
    }

    /// Whether an account registered on this flow.
    pub(crate) fn knows_flow(&self, flow: FlowId) -> bool {
        self.by_flow.range((flow, String::new())..).next().is_some_and(|(known, _)| *known == flow)
    }

    /// A flow is gone, and with it the bindings that came on it.
    pub(crate) fn handle_flow_closed(&mut self, flow: FlowId) -> Vec<BindingChange> {
        let accounts: Vec<String> = self
            .by_flow
            .range((flow, String::new())..)
            .take_while(|(known, _)| *known == flow)
            .map(|(_, account)| account.clone())
            .collect();
        let is_lost = |entry: &Entry| entry.binding.flow == flow && entry.binding.hop.transport.is_reliable();
        accounts.iter().flat_map(|account| self.drop_where(account, is_lost, Vanished::FlowClosed)).collect()
    }

    /// Drops what was not refreshed in time.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Vec<BindingChange> {
        let mut changes = Vec::new();
        while let Some((at, account)) = self.by_expiry.first().cloned() {
            if at > now {
                break;
            }
            changes.extend(self.drop_where(&account, |entry| entry.expires_at <= now, Vanished::Expired));
        }
        changes
    }

    /// Drops the bindings of accounts that are no longer known.
    pub(crate) fn retain(&mut self, is_known: impl Fn(&str) -> bool) -> Vec<BindingChange> {
        let gone: Vec<String> = self.accounts.keys().filter(|name| !is_known(name)).cloned().collect();
        gone.iter().flat_map(|name| self.drop_where(name, |_| true, Vanished::AccountGone)).collect()
    }

    /// When the next binding expires.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.by_expiry.first().map(|(at, _)| *at)
    }

    /// How many bindings there are.
    pub(crate) const fn len(&self) -> usize {
        self.bindings
    }

    fn drop_where(
        &mut self,
        account: &str,
        goes: impl Fn(&Entry) -> bool,
        why: Vanished,
    ) -> Vec<BindingChange> {
        let (gone, kept) = self.take(account).into_iter().partition(goes);
        self.put(account, kept);
        let gone: Vec<Entry> = gone;
        gone.into_iter().map(|entry| vanished(entry, why)).collect()
    }

    /// Takes an account's entries out of every index.
    fn take(&mut self, account: &str) -> Vec<Entry> {
        let entries = self.accounts.remove(account).unwrap_or_default();
        for entry in &entries {
            self.by_flow.remove(&(entry.binding.flow, account.to_owned()));
        }
        if let Some(at) = entries.iter().map(|entry| entry.expires_at).min() {
            self.by_expiry.remove(&(at, account.to_owned()));
        }
        self.bindings -= entries.len();
        entries
    }

    /// Puts an account's entries into every index.
    fn put(&mut self, account: &str, entries: Vec<Entry>) {
        let Some(at) = entries.iter().map(|entry| entry.expires_at).min() else { return };
        self.by_expiry.insert((at, account.to_owned()));
        for entry in &entries {
            self.by_flow.insert((entry.binding.flow, account.to_owned()));
        }
        self.bindings += entries.len();
        self.accounts.insert(account.to_owned(), entries);
    }
}

enum Wishes {
    None,
    RemoveAll,
    Some(Vec<Wish>),
}

/// Reads what a REGISTER asks for (RFC 3261 section 10.3 steps 6 and 7).
fn wishes_of(request: &Message, limits: &Limits) -> Result<Wishes, (u16, &'static str)> {
    let header_s = request.expires();
    let contacts = match request.contacts() {
        Ok(Contacts::Star) if header_s == Some(0) => return Ok(Wishes::RemoveAll),
        Ok(Contacts::Star) => return Err((400, "Wildcard Needs Expires 0")),
        Ok(Contacts::List(contacts)) => contacts,
        Err(_) => return Err((400, "Bad Contact")),
    };
    if contacts.is_empty() {
        return Ok(Wishes::None);
    }
    if contacts.len() > limits.contacts {
        return Err((403, "Too Many Contacts"));
    }
    contacts
        .into_iter()
        .map(|contact| wish_of(contact, header_s, limits))
        .collect::<Result<_, _>>()
        .map(Wishes::Some)
}

fn wish_of(contact: NameAddr, header_s: Option<u32>, limits: &Limits) -> Result<Wish, (u16, &'static str)> {
    if !matches!(contact.uri.scheme, Scheme::Sip | Scheme::Sips) {
        return Err((400, "Contact Is No SIP URI"));
    }
    let asked = contact.params.value("expires").and_then(|seconds| seconds.parse().ok()).or(header_s);
    let expires_s = match asked {
        Some(0) => 0,
        Some(seconds) if seconds < limits.register_min_s => return Err((423, "Interval Too Brief")),
        Some(seconds) => seconds.min(limits.register_max_s),
        None => limits.register_default_s,
    };
    let q = contact.params.value("q").map_or(Ok(MOST_PREFERRED), thousandths).map_err(|()| (400, "Bad q"))?;
    Ok(Wish { contact: contact.uri.to_string(), uri: contact.uri, q, expires_s })
}

/// Reads `0.5` as 500.
fn thousandths(q: &str) -> Result<u16, ()> {
    let (whole, fraction) = q.split_once('.').unwrap_or((q, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(());
    }
    let fraction: u16 = format!("{fraction:0<3}").parse().map_err(|_| ())?;
    match (whole, fraction) {
        ("0", fraction) => Ok(fraction),
        ("1", 0) => Ok(MOST_PREFERRED),
        _ => Err(()),
    }
}

fn entry_of(
    id: BindingId,
    account: &str,
    wish: &Wish,
    (call_id, cseq): (&str, u32),
    request: &Message,
    arrival: &Arrival,
    now: Instant,
) -> Option<Entry> {
    let symmetric =
        request.top_via().is_ok_and(|via| via.rport().is_some()) || is_behind_nat(request, arrival);
    let on_flow = arrival.transport.is_reliable() || symmetric;
    let named = hop_of(&wish.uri, arrival.side, arrival.transport)?;
    let hop = if on_flow {
        Hop {
            side: arrival.side,
            transport: arrival.transport,
            host: arrival.remote.ip().to_string(),
            port: Some(arrival.remote.port()),
        }
    } else {
        named
    };
    let binding = Binding {
        id,
        account: account.to_owned(),
        contact: wish.contact.clone(),
        q: wish.q,
        flow: arrival.flow,
        hop,
        on_flow,
    };
    Some(Entry {
        binding,
        uri: wish.uri.clone(),
        call_id: call_id.to_owned(),
        cseq,
        refreshed_at: now,
        expires_at: now + Duration::from_secs(u64::from(wish.expires_s)),
    })
}

/// Adds, refreshes or removes one contact. `fresh` is what it becomes; none removes it.
fn apply(
    entries: &mut Vec<Entry>,
    wish: &Wish,
    fresh: Option<Entry>,
    most: usize,
    changes: &mut Vec<BindingChange>,
) {
    let known = entries.iter().position(|entry| entry.uri.is_equivalent(&wish.uri));
    let old = known.map(|at| entries.remove(at));
    match (old, fresh) {
        (Some(old), None) => changes.push(vanished(old, Vanished::Removed)),
        (None, None) => {}
        (old, Some(mut fresh)) => {
            if let Some(old) = &old {
                fresh.binding.id = old.binding.id;
            }
            if old.is_none() && entries.len() >= most {
                // A phone that lost its old contact in a crash must be able to come back: the stalest one goes.
                let stalest = entries.iter().enumerate().min_by_key(|(_, entry)| entry.refreshed_at);
                if let Some((at, _)) = stalest {
                    changes.push(vanished(entries.remove(at), Vanished::Replaced));
                }
            }
            let binding = fresh.binding.clone();
            changes.push(match old {
                Some(_) => BindingChange::Refreshed(binding),
                None => BindingChange::Appeared(binding),
            });
            entries.push(fresh);
        }
    }
}

fn written(entry: &Entry, now: Instant) -> String {
    let left = entry.expires_at.saturating_duration_since(now);
    let (q, contact) = (entry.binding.q, &entry.binding.contact);
    let q = if q == MOST_PREFERRED { String::new() } else { format!(";q=0.{q:03}") };
    format!("<{contact}>{q};expires={}", left.as_millis().div_ceil(1_000))
}

fn vanished(entry: Entry, why: Vanished) -> BindingChange {
    BindingChange::Vanished { binding: entry.binding, why }
}

const fn refused(status: u16, reason: &'static str) -> Registration {
    Registration::Refused { status, reason }
}

/// A q of 1, which is also what its absence means.
const MOST_PREFERRED: u16 = 1_000;
