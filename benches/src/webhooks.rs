//! Signed webhooks at a steady rate, posted as Meta does it: what got no answer is delivered again.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use setu_model::Secret;
use setu_whatsapp::webhook::sign;

/// What to post, and how fast. Each webhook tells of a message of another customer, or, for every `again`th, of one
/// that was told before.
#[derive(Debug)]
pub struct Load {
    /// Where the bridge takes webhooks (`webhooks.bind`).
    pub to: SocketAddr,
    /// What signs them.
    pub app_secret: Secret<String>,
    /// The number's id with Meta (`numbers.phone_number_id`).
    pub phone_number_id: String,
    /// Unix time, seconds: the customers' and the messages' names are made of it, so that each run tells of new ones.
    pub run: u64,
    /// Webhooks a second.
    pub rate: u32,
    /// For how long, in seconds.
    pub seconds: u32,
    /// Connections, which are kept open.
    pub connections: u32,
    /// Every so many webhooks, one that was told before; 0 for none.
    pub again: u32,
    /// How long a bridge may be away before the load gives up.
    pub patience: Duration,
}

/// What became of them.
#[derive(Debug, Default)]
pub struct Seen {
    /// The messages whose webhook was acknowledged.
    pub acknowledged: BTreeSet<u32>,
    /// From when each was due, so that a bridge that stalls is not spared those behind. In no order.
    pub latencies: Vec<Duration>,
    /// Answers that are no 200.
    pub refused: u32,
    /// Deliveries that got no answer, because the bridge or its connection was gone.
    pub unanswered: u32,
}

impl Load {
    /// Posts all; returns once each was answered.
    ///
    /// # Errors
    ///
    /// If the bridge is away for longer than [`Load::patience`], or answers no HTTP.
    pub fn run(&self) -> anyhow::Result<Seen> {
        let start = Instant::now() + Duration::from_millis(200);
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..self.connections)
                .map(|number| scope.spawn(move || self.post_share(number, start)))
                .collect();
            let mut all = Seen::default();
            for worker in workers {
                let seen = worker
                    .join()
                    .unwrap_or_else(|_| Err(anyhow::anyhow!("a connection's thread panicked")))?;
                all.acknowledged.extend(seen.acknowledged);
                all.latencies.extend(seen.latencies);
                all.refused += seen.refused;
                all.unanswered += seen.unanswered;
            }
            Ok(all)
        })
    }

    /// Posts one connection's share, each when it is due.
    fn post_share(&self, number: u32, start: Instant) -> anyhow::Result<Seen> {
        let mut seen = Seen::default();
        let mut open = None;
        for n in (number..self.rate * self.seconds).step_by(self.connections as usize) {
            let due = start + Duration::from_secs(1).mul_f64(f64::from(n) / f64::from(self.rate));
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let again = n > 0 && n.checked_rem(self.again) == Some(0);
            let message = if again { n - 1 } else { n };
            let gives_up = Instant::now() + self.patience;
            let acknowledged = loop {
                match self.deliver(&mut open, message) {
                    Ok(acknowledged) => break acknowledged,
                    Err(_) if Instant::now() < gives_up => {
                        seen.unanswered += 1;
                        open = None;
                        std::thread::sleep(Duration::from_millis(20));
                    }
                    Err(error) => return Err(error),
                }
            };
            if acknowledged {
                seen.latencies.push(due.elapsed());
                seen.acknowledged.insert(message);
            } else {
                seen.refused += 1;
            }
        }
        Ok(seen)
    }

    /// Posts the webhook of a message, on the open connection if there is one; returns whether it was acknowledged.
    fn deliver(&self, open: &mut Option<BufReader<TcpStream>>, message: u32) -> anyhow::Result<bool> {
        let answers = match open {
            Some(answers) => answers,
            None => open.insert(self.connect()?),
        };
        let body = self.body(message);
        let signature = sign(&self.app_secret, body.as_bytes());
        let head = format!(
            "POST /webhooks/whatsapp HTTP/1.1\r\nHost: setu\r\nContent-Type: application/json\r\n\
             X-Hub-Signature-256: {signature}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        answers.get_mut().write_all(&[head.as_bytes(), body.as_bytes()].concat())?;
        acknowledged(answers)
    }

    fn connect(&self) -> anyhow::Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect(self.to).with_context(|| format!("cannot connect to {}", self.to))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(BufReader::new(stream))
    }

    /// The customer who sends message `n`, as WhatsApp names him: twelve digits, as those of India are.
    #[must_use]
    pub fn customer(&self, n: u32) -> String {
        (910_000_000_000_u64 + (self.run % 1_000) * 1_000_000 + u64::from(n)).to_string()
    }

    /// The id of message `n`.
    #[must_use]
    pub fn message(&self, n: u32) -> String {
        format!("wamid.{}.{n}", self.run)
    }

    /// A customer's message, as Meta tells of it.
    fn body(&self, n: u32) -> String {
        let (customer, run) = (self.customer(n), self.run);
        serde_json::json!({
            "object": "whatsapp_business_account",
            "entry": [{"id": "102290129340398", "time": run, "changes": [{
                "field": "messages",
                "value": {
                    "messaging_product": "whatsapp",
                    "metadata": {
                        "display_phone_number": "15550783881", "phone_number_id": self.phone_number_id,
                    },
                    "contacts": [{"wa_id": customer, "profile": {"name": "Load"}}],
                    "messages": [{
                        "from": customer, "id": self.message(n), "timestamp": run.to_string(),
                        "type": "text", "text": {"body": "When do you open?"},
                    }],
                },
            }]}],
        })
        .to_string()
    }
}

impl Seen {
    /// The latency that `permille` of the acknowledgements did not exceed, in milliseconds; 0 if there were none.
    pub fn latency_ms(&mut self, permille: usize) -> f64 {
        self.latencies.sort_unstable();
        let index = (self.latencies.len() * permille / 1_000).min(self.latencies.len().saturating_sub(1));
        self.latencies.get(index).map_or(0.0, |latency| latency.as_secs_f64() * 1_000.0)
    }
}

/// Reads an answer; returns whether it is a 200.
fn acknowledged(answers: &mut impl BufRead) -> anyhow::Result<bool> {
    let (mut status, mut length) = (String::new(), 0);
    answers.read_line(&mut status)?;
    anyhow::ensure!(!status.is_empty(), "the bridge closed the connection");
    loop {
        let mut line = String::new();
        answers.read_line(&mut line)?;
        anyhow::ensure!(!line.is_empty(), "an answer that ends early");
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().context("a Content-Length that is no number")?;
        }
    }
    let read = std::io::copy(&mut answers.take(length), &mut std::io::sink())?;
    anyhow::ensure!(read == length, "an answer that ends early");
    Ok(status.starts_with("HTTP/1.1 200"))
}
