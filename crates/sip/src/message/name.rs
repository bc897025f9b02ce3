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
        let candidates = long_names(text.len()).iter();
        candidates
            .copied()
            .find(|(_, long)| long.as_bytes().eq_ignore_ascii_case(text))
            .map_or(Self::Other, |(name, _)| name)
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

/// The known names of `len` bytes, in lower case: at most four comparisons a header.
const fn long_names(len: usize) -> &'static [(Name, &'static str)] {
    match len {
        2 => &[(Name::To, "to")],
        3 => &[(Name::Via, "via")],
        4 => &[(Name::From, "from"), (Name::CSeq, "cseq"), (Name::RSeq, "rseq"), (Name::RAck, "rack")],
        5 => &[(Name::Route, "route"), (Name::Event, "event")],
        6 => &[(Name::MinSe, "min-se")],
        7 => &[
            (Name::CallId, "call-id"),
            (Name::Contact, "contact"),
            (Name::Expires, "expires"),
            (Name::Subject, "subject"),
        ],
        8 => &[(Name::ReferTo, "refer-to"), (Name::Replaces, "replaces")],
        9 => &[(Name::Supported, "supported")],
        11 => &[(Name::ReferredBy, "referred-by")],
        12 => &[
            (Name::MaxForwards, "max-forwards"),
            (Name::RecordRoute, "record-route"),
            (Name::ContentType, "content-type"),
            (Name::AllowEvents, "allow-events"),
        ],
        14 => &[(Name::ContentLength, "content-length")],
        15 => &[(Name::SessionExpires, "session-expires")],
        16 => &[(Name::ContentEncoding, "content-encoding")],
        18 => &[(Name::SubscriptionState, "subscription-state")],
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
