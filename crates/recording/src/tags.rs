use setu_model::{CallId, Wall};

/// What the file says of itself in its comment header (RFC 7845 section 5.2).
///
/// By default the call's id, when it began, and which side is which: nothing that names a person. Whoever adds
/// personal data with [`Tags::with`] puts it into every copy of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tags {
    call: CallId,
    comments: Vec<String>,
}

impl Tags {
    /// Makes the default tags of the recording of `call` that begins at `at`.
    pub fn new(call: CallId, at: Wall) -> Self {
        let comments = vec![
            format!("TITLE=Call {call}"),
            format!("DATE={at}"),
            format!("SETU_CALL_ID={call}"),
            "DESCRIPTION=left: customer, right: agent".to_owned(),
        ];
        Self { call, comments }
    }

    /// Adds a comment. A name that is not printable ASCII without `=`, and anything past [`Tags::MOST`] comments,
    /// is left out; a long value is cut at [`Tags::VALUE_BYTES`].
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        let sound = !name.is_empty() && name.bytes().all(|byte| matches!(byte, 0x20..=0x7d) && byte != b'=');
        if sound && name.len() <= Self::VALUE_BYTES && self.comments.len() < Self::MOST {
            let end = value.floor_char_boundary(Self::VALUE_BYTES);
            self.comments.push(format!("{name}={}", value.get(..end).unwrap_or_default()));
        }
        self
    }

    /// The most comments: all of them must fit one page.
    pub const MOST: usize = 24;

    /// The longest value in bytes.
    pub const VALUE_BYTES: usize = 512;

    /// Names the logical stream: two recordings joined into one file must differ (RFC 3533 section 4).
    pub(crate) fn serial(&self) -> u32 {
        // The low half of a call id is random.
        (self.call.bits() & u128::from(u32::MAX)) as u32
    }

    pub(crate) fn packet(&self) -> Vec<u8> {
        let mut packet = b"OpusTags".to_vec();
        add(concat!("setu ", env!("CARGO_PKG_VERSION")), &mut packet);
        packet.extend_from_slice(&(self.comments.len() as u32).to_le_bytes());
        self.comments.iter().for_each(|comment| add(comment, &mut packet));
        packet
    }
}

/// A length and the text. Every text is far below 4 GiB.
fn add(text: &str, to: &mut Vec<u8>) {
    to.extend_from_slice(&(text.len() as u32).to_le_bytes());
    to.extend_from_slice(text.as_bytes());
}
