//! rtpengine's control protocol: a cookie and a bencoded dictionary in a datagram, and the same back.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

/// A bencoded value, as far as the protocol needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    List(Vec<Value>),
    Map(BTreeMap<String, Value>),
    Number(i64),
}

impl Value {
    /// A list of words.
    pub(crate) fn words(words: &[&str]) -> Self {
        Self::List(words.iter().map(|word| Self::Text((*word).to_owned())).collect())
    }

    /// A text in a dictionary.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        match self {
            Self::Map(map) => match map.get(key) {
                Some(Self::Text(text)) => Some(text),
                Some(Self::List(_) | Self::Map(_) | Self::Number(_)) | None => None,
            },
            Self::Text(_) | Self::List(_) | Self::Number(_) => None,
        }
    }

    fn write(&self, to: &mut String) {
        match self {
            Self::Text(text) => to.push_str(&format!("{}:{text}", text.len())),
            Self::Number(number) => to.push_str(&format!("i{number}e")),
            Self::List(list) => {
                to.push('l');
                list.iter().for_each(|value| value.write(to));
                to.push('e');
            }
            Self::Map(map) => {
                to.push('d');
                for (key, value) in map {
                    to.push_str(&format!("{}:{key}", key.len()));
                    value.write(to);
                }
                to.push('e');
            }
        }
    }

    fn read(from: &mut &str) -> Option<Self> {
        let kind = from.chars().next()?;
        if kind.is_ascii_digit() {
            return read_text(from).map(Self::Text);
        }
        *from = from.get(1..)?;
        match kind {
            'i' => {
                let (number, rest) = from.split_once('e')?;
                *from = rest;
                number.parse().ok().map(Self::Number)
            }
            'l' => {
                let mut list = Vec::new();
                while !from.starts_with('e') {
                    list.push(Self::read(from)?);
                }
                *from = from.get(1..)?;
                Some(Self::List(list))
            }
            'd' => {
                let mut map = BTreeMap::new();
                while !from.starts_with('e') {
                    map.insert(read_text(from)?, Self::read(from)?);
                }
                *from = from.get(1..)?;
                Some(Self::Map(map))
            }
            _ => None,
        }
    }
}

fn read_text(from: &mut &str) -> Option<String> {
    let (len, rest) = from.split_once(':')?;
    let len = len.parse::<usize>().ok()?;
    let text = rest.get(..len)?.to_owned();
    *from = rest.get(len..)?;
    Some(text)
}

/// A client of one rtpengine.
pub(crate) struct Client {
    socket: UdpSocket,
    cookie: u64,
}

impl Client {
    pub(crate) fn new(to: SocketAddrV4) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect(to)?;
        socket.set_read_timeout(Some(Duration::from_millis(500)))?;
        Ok(Self { socket, cookie: 0 })
    }

    /// Sends a command, again if the answer gets lost; returns the answer, whose result is `ok` or `pong`.
    pub(crate) fn ask(&mut self, command: &[(&str, Value)]) -> anyhow::Result<Value> {
        self.cookie += 1;
        let map = command.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        let mut request = format!("{} ", self.cookie);
        Value::Map(map).write(&mut request);
        let mut buffer = vec![0; 65_536];
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            // Refused while it is starting.
            let _ = self.socket.send(request.as_bytes());
            let Ok(len) = self.socket.recv(&mut buffer) else {
                std::thread::sleep(Duration::from_millis(10));
                continue;
            };
            let text = std::str::from_utf8(buffer.get(..len).unwrap_or_default())?;
            let Some((cookie, mut body)) = text.split_once(' ') else { continue };
            if cookie != self.cookie.to_string() {
                continue;
            }
            let answer = Value::read(&mut body).context("an answer of rtpengine is not bencoded")?;
            match answer.text("result") {
                Some("ok" | "pong") => return Ok(answer),
                _ => bail!("rtpengine refuses: {answer:?}"),
            }
        }
        bail!("rtpengine does not answer")
    }
}

/// How long a command is repeated before rtpengine counts as gone.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let text = "d5:flagsl13:trust-address5:resete4:porti-7e6:result2:oke";
        let value = Value::read(&mut &*text).unwrap();
        assert_eq!(value.text("result"), Some("ok"));
        let mut again = String::new();
        value.write(&mut again);
        assert_eq!(again, text);
        for cut in 0..text.len() {
            assert_eq!(Value::read(&mut &text[..cut]), None, "{cut}");
        }
    }
}
