//! What the wire trace shows of a message: everything but credentials and keys.

/// Returns `message` as text without the values of `Authorization` and `Proxy-Authorization` and without SDES keys.
///
/// Works on any bytes: a broken message must not leak what a good one would not.
pub fn scrub(message: &[u8]) -> String {
    let text = String::from_utf8_lossy(message);
    let mut clean = String::with_capacity(text.len());
    let mut secret = false;
    for line in text.split_inclusive(['\r', '\n']) {
        let (content, end) = line.split_at(line.trim_end_matches(['\r', '\n']).len());
        if content.is_empty() {
            clean.push_str(end);
            continue;
        }
        // A line that begins with white space goes on with the one before (RFC 3261 section 7.3.1).
        if !content.starts_with([' ', '\t']) {
            secret = is_credential(content);
            if secret {
                let name = content.split(':').next().unwrap_or_default();
                clean.push_str(name);
                clean.push_str(": ");
                clean.push_str(SCRUBBED);
            }
        }
        if !secret {
            push_without_keys(&mut clean, content);
        }
        clean.push_str(end);
    }
    clean
}

fn is_credential(line: &str) -> bool {
    line.split_once(':').is_some_and(|(name, _)| {
        let name = name.trim();
        let tail = name.len().checked_sub(CREDENTIALS.len()).and_then(|at| name.get(at..));
        tail.is_some_and(|tail| tail.eq_ignore_ascii_case(CREDENTIALS))
    })
}

/// Copies `line`, each SDES key parameter (`inline:...`, RFC 4568 section 9.2) and old-style key line left out.
fn push_without_keys(clean: &mut String, line: &str) {
    if line.starts_with("k=") {
        clean.push_str("k=");
        clean.push_str(SCRUBBED);
        return;
    }
    let lower = line.to_ascii_lowercase();
    let mut from = 0;
    while let Some(at) =
        lower.get(from..).and_then(|rest| rest.find(INLINE)).map(|at| from + at + INLINE.len())
    {
        let key = line.get(at..).unwrap_or_default();
        clean.push_str(line.get(from..at).unwrap_or_default());
        clean.push_str(SCRUBBED);
        from = at + key.find([' ', '\t', ';']).unwrap_or(key.len());
    }
    clean.push_str(line.get(from..).unwrap_or_default());
}

const CREDENTIALS: &str = "authorization";
const INLINE: &str = "inline:";
const SCRUBBED: &str = "[scrubbed]";

#[cfg(test)]
mod tests {
    use super::scrub;

    #[test]
    fn credentials_and_keys_are_left_out_and_all_else_stays() {
        let wire = "INVITE sip:a@b SIP/2.0\r\n\
            Proxy-Authorization: Digest username=\"1\", response=\"canary\"\r\n\
            AUTHORIZATION : Digest response=\"canary\",\r\n\tnonce=\"canary\"\r\n\
            Call-ID: 1\r\n\
            \r\n\
            v=0\r\n\
            a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:canary|2^20|1:32;INLINE:canary2 UNENCRYPTED_SRTCP\r\n\
            k=clear:canary\r\n\
            a=sendrecv\r\n";
        let clean = scrub(wire.as_bytes());
        assert!(!clean.contains("canary"), "{clean}");
        assert_eq!(
            clean,
            "INVITE sip:a@b SIP/2.0\r\n\
            Proxy-Authorization: [scrubbed]\r\n\
            AUTHORIZATION : [scrubbed]\r\n\r\n\
            Call-ID: 1\r\n\
            \r\n\
            v=0\r\n\
            a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:[scrubbed];INLINE:[scrubbed] UNENCRYPTED_SRTCP\r\n\
            k=[scrubbed]\r\n\
            a=sendrecv\r\n"
        );
    }

    #[test]
    fn no_cut_and_no_line_ending_brings_a_key_to_light() {
        let wire = b"X\nAuthorization: canary\na=crypto:1 S inline:canary\r\xff\nauthorization:canary";
        for end in 0..wire.len() {
            let clean = scrub(&wire[..end]);
            assert!(!clean.contains("canary"), "{clean}");
        }
    }
}
