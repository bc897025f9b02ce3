//! As much of HTTP/1.1 (RFC 9112) as the two sides of Graph need.

use bytes::Bytes;

/// One request that came in whole.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    head: String,
    pub(super) body: Vec<u8>,
}

impl Request {
    /// The words of the path, without its query.
    pub(super) fn words(&self) -> impl Iterator<Item = &str> {
        let path = self.path.split('?').next().unwrap_or_default();
        path.trim_start_matches('/').split('/')
    }

    /// A parameter of the query, as written.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        let (_, query) = self.path.split_once('?')?;
        query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, v)| v)
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }
}

/// Takes the first whole request out of `buffer`; `Err` if it is none.
pub(super) fn take_request(buffer: &mut Vec<u8>) -> Option<Result<Request, ()>> {
    let (head, body) = take_message(buffer)?;
    let mut words = head.lines().next().unwrap_or_default().split(' ');
    let (method, path, version) = (words.next(), words.next(), words.next());
    let request = match (method, path, version) {
        (Some(method), Some(path), Some("HTTP/1.1")) => {
            Ok(Request { method: method.to_owned(), path: path.to_owned(), head, body })
        }
        _ => Err(()),
    };
    Some(request)
}

/// The status of the first whole response in `buffer`.
pub(super) fn take_status(buffer: &mut Vec<u8>) -> Option<u16> {
    let (head, _) = take_message(buffer)?;
    head.split(' ').nth(1)?.parse().ok()
}

/// A response with a JSON body.
pub(super) fn response(status: u16, body: &str) -> Bytes {
    let phrase = if status < 300 { "OK" } else { "Error" };
    let length = body.len();
    format!(
        "HTTP/1.1 {status} {phrase}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into()
}

/// A request with a JSON body and its signature.
pub(super) fn post(host: &str, path: &str, signature: &str, body: &str) -> Bytes {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         X-Hub-Signature-256: {signature}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into()
}

fn take_message(buffer: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    let end = buffer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(buffer.get(..end)?).into_owned();
    let length: usize = header(&head, "content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let whole = end + 4 + length;
    let body = buffer.get(end + 4..whole)?.to_vec();
    buffer.drain(..whole);
    Some((head, body))
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let mut fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_taken_when_it_is_whole_and_the_next_one_stays() {
        let mut buffer =
            b"POST /a HTTP/1.1\r\nContent-Length: 2\r\nAuthorization: Bearer x\r\n\r\n{".to_vec();
        assert!(take_request(&mut buffer).is_none());
        buffer.extend(b"}GET /b HTTP/1.1\r\n\r\n");
        let request = take_request(&mut buffer).unwrap().unwrap();
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/a"));
        assert_eq!(
            (request.header("authorization"), request.body.as_slice()),
            (Some("Bearer x"), &b"{}"[..])
        );
        assert_eq!(take_request(&mut buffer).unwrap().unwrap().path, "/b");
        assert!(take_request(&mut b"nonsense\r\n\r\n".to_vec()).unwrap().is_err());
        assert_eq!(take_status(&mut b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n".to_vec()), Some(503));
    }
}
