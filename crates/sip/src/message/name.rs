/// The header fields this crate looks at itself. Anything else is [`Name::Other`] and compared by text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Name {
    Other,
    Via,
    From,
    To,
    CallId,
    CSeq,
    Contact,
    MaxForwards,
    ContentLength,
    ContentType,
    ContentEncoding,
    Route,
    RecordRoute,
    Expires,
    Event,
    ReferTo,
    ReferredBy,
    Replaces,
    SessionExpires,
    MinSe,
    RSeq,
    RAck,
    Supported,
    AllowEvents,
    Subject,
    SubscriptionState,
}

impl Name {
    /// Recognises a field name, long or compact, in any case.
    pub(crate) fn of(text: &[u8]) -> Self {
        if let [letter] = text {
            return Self::of_compact(letter.to_ascii_lowercase());
        }
        // Hardly anybody writes a name in other letters than the RFC: compare as written first, then ignoring case.
        let first = text.first().map_or(0, u8::to_ascii_lowercase);
        for &(name, long) in long_names(text.len()) {
            let long = long.as_bytes();
            let may_be = long.first().is_some_and(|byte| byte.to_ascii_lowercase() == first);
            if may_be && (long == text || long.eq_ignore_ascii_case(text)) {
                return name;
            }
        }
        Self::Other
    }

    /// The one-letter forms (RFC 3261 section 20, RFC 3515, 3892, 4028, 6665).
    const fn of_compact(letter: u8) -> Self {
        match letter {
            b'v' => Self::Via,
            b'f' => Self::From,
            b't' => Self::To,
            b'i' => Self::CallId,
            b'm' => Self::Contact,
            b'l' => Self::ContentLength,
            b'c' => Self::ContentType,
            b'e' => Self::ContentEncoding,
            b'o' => Self::Event,
            b'r' => Self::ReferTo,
            b'b' => Self::ReferredBy,
            b'x' => Self::SessionExpires,
            b'k' => Self::Supported,
            b'u' => Self::AllowEvents,
            b's' => Self::Subject,
            _ => Self::Other,
        }
    }

    /// Returns the long name of a field that every response copies from its request (RFC 3261 section 8.2.6.2).
    pub(crate) fn copied_to_responses(self) -> Option<&'static str> {
        Self::COPIED.iter().find(|(name, _)| *name == self).map(|(_, long)| *long)
    }

    /// What every response copies from its request.
    pub(crate) const COPIED: [(Self, &'static str); 5] = [
        (Self::Via, "Via"),
        (Self::From, "From"),
        (Self::To, "To"),
        (Self::CallId, "Call-ID"),
        (Self::CSeq, "CSeq"),
    ];

    /// Tells whether the field steers processing and may stand only once in a message.
    pub(crate) const fn is_singleton(self) -> bool {
        matches!(
            self,
            Self::From
                | Self::To
                | Self::CallId
                | Self::CSeq
                | Self::MaxForwards
                | Self::ContentLength
                | Self::ContentType
                | Self::Expires
                | Self::Event
                | Self::ReferTo
                | Self::ReferredBy
                | Self::Replaces
                | Self::SessionExpires
                | Self::MinSe
                | Self::RSeq
                | Self::RAck
                | Self::SubscriptionState
        )
    }

    /// A bit of its own in a set of seen fields.
    pub(crate) const fn bit(self) -> u32 {
        1 << self as u8
    }
}

/// Tells whether a field of this name may stand only once in a message: those that steer processing, where a
/// second one would be read differently by another element (long or compact name, any case).
pub fn is_singleton(name: &str) -> bool {
    Name::of(name.as_bytes()).is_singleton()
}

/// The known names of `len` bytes, as the RFCs write them: at most four a header, and rarely two of one letter.
const fn long_names(len: usize) -> &'static [(Name, &'static str)] {
    match len {
        2 => &[(Name::To, "To")],
        3 => &[(Name::Via, "Via")],
        4 => &[(Name::From, "From"), (Name::CSeq, "CSeq"), (Name::RSeq, "RSeq"), (Name::RAck, "RAck")],
        5 => &[(Name::Route, "Route"), (Name::Event, "Event")],
        6 => &[(Name::MinSe, "Min-SE")],
        7 => &[
            (Name::CallId, "Call-ID"),
            (Name::Contact, "Contact"),
            (Name::Expires, "Expires"),
            (Name::Subject, "Subject"),
        ],
        8 => &[(Name::ReferTo, "Refer-To"), (Name::Replaces, "Replaces")],
        9 => &[(Name::Supported, "Supported")],
        11 => &[(Name::ReferredBy, "Referred-By")],
        12 => &[
            (Name::MaxForwards, "Max-Forwards"),
            (Name::RecordRoute, "Record-Route"),
            (Name::ContentType, "Content-Type"),
            (Name::AllowEvents, "Allow-Events"),
        ],
        14 => &[(Name::ContentLength, "Content-Length")],
        15 => &[(Name::SessionExpires, "Session-Expires")],
        16 => &[(Name::ContentEncoding, "Content-Encoding")],
        18 => &[(Name::SubscriptionState, "Subscription-State")],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_long_name_is_known_in_any_case_and_has_its_own_bit() {
        let mut seen = 0;
        for &(name, long) in (0..32).flat_map(long_names) {
            assert_eq!(Name::of(long.as_bytes()), name);
            assert_eq!(Name::of(long.to_ascii_uppercase().as_bytes()), name);
            assert_eq!(seen & name.bit(), 0);
            seen |= name.bit();
        }
        assert_eq!(Name::of(b""), Name::Other);
        assert_eq!(Name::of(b"Vi"), Name::Other);
        assert_eq!(Name::of(b"Viaa"), Name::Other);
    }

    #[test]
    fn compact_forms_mean_their_long_names() {
        for (letter, long) in [
            ("v", "via"),
            ("f", "from"),
            ("t", "to"),
            ("i", "call-id"),
            ("m", "contact"),
            ("l", "content-length"),
            ("c", "content-type"),
            ("e", "content-encoding"),
            ("o", "event"),
            ("r", "refer-to"),
            ("b", "referred-by"),
            ("x", "session-expires"),
            ("k", "supported"),
            ("u", "allow-events"),
            ("s", "subject"),
        ] {
            assert_eq!(Name::of(letter.as_bytes()), Name::of(long.as_bytes()));
            assert_eq!(Name::of(letter.to_uppercase().as_bytes()), Name::of(long.as_bytes()));
        }
    }
}
