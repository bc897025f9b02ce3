//! Header fields as the types they stand for, read when asked for.

use std::fmt;
use std::str::FromStr;

use super::{HeaderError, Message, Method, Name, ParseError};
use crate::address::{Contacts, NameAddr};
use crate::scan;
use crate::uri::{Scheme, Uri};
use crate::via::Via;

/// The sequence number of a request within its dialog (RFC 3261 section 20.16).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CSeq {
    /// The number: below 2^31.
    pub number: u32,
    /// The method it counts.
    pub method: Method,
}

impl fmt::Display for CSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number, self.method)
    }
}

impl Message {
    /// Returns the Call-ID, byte for byte.
    ///
    /// # Errors
    ///
    /// It is missing, empty, not ASCII or has blanks within.
    pub fn call_id(&self) -> Result<&str, HeaderError> {
        let name = "Call-ID";
        let header = self.find_known(Name::CallId).next().ok_or(HeaderError::Missing(name))?;
        match str::from_utf8(header.value()) {
            Ok(id) if !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(id),
            Ok(_) | Err(_) => {
                Err(HeaderError::Malformed { name, what: "empty, or blank or non-ASCII within" })
            }
        }
    }

    /// Returns CSeq.
    ///
    /// # Errors
    ///
    /// It is missing, its number is 2^31 or more, or its method is no token.
    pub fn cseq(&self) -> Result<CSeq, HeaderError> {
        let name = "CSeq";
        let bad = |what| HeaderError::Malformed { name, what };
        let header = self.find_known(Name::CSeq).next().ok_or(HeaderError::Missing(name))?;
        let text = str::from_utf8(header.value()).map_err(|_| bad("not text"))?;
        let (number, method) =
            text.split_once([' ', '\t']).ok_or_else(|| bad("not a number and a method"))?;
        let number = scan::digits(number.as_bytes())
            .and_then(|number| u32::try_from(number).ok())
            .filter(|&number| number < 1 << 31)
            .ok_or_else(|| bad("number is not below 2^31"))?;
        let method = method.trim_start();
        if !scan::is_token(method.as_bytes()) {
            return Err(bad("method is no token"));
        }
        Ok(CSeq { number, method: Method::from(method) })
    }

    /// Returns From.
    ///
    /// # Errors
    ///
    /// It is missing or broken.
    pub fn from(&self) -> Result<NameAddr, HeaderError> {
        self.one(Name::From, "From")
    }

    /// Returns To.
    ///
    /// # Errors
    ///
    /// It is missing or broken.
    pub fn to(&self) -> Result<NameAddr, HeaderError> {
        self.one(Name::To, "To")
    }

    /// Returns every Via value, the topmost first.
    ///
    /// # Errors
    ///
    /// None is there, or one is broken.
    pub fn vias(&self) -> Result<Vec<Via>, HeaderError> {
        let vias: Vec<Via> = self.many(Name::Via, "Via")?;
        if vias.is_empty() { Err(HeaderError::Missing("Via")) } else { Ok(vias) }
    }

    /// Returns the topmost Via value; those below are not looked at.
    ///
    /// # Errors
    ///
    /// It is missing or broken.
    pub fn top_via(&self) -> Result<Via, HeaderError> {
        let header = self.find_known(Name::Via).next().ok_or(HeaderError::Missing("Via"))?;
        let text = header.text();
        let first = scan::split(&text, b',').next().unwrap_or_default();
        first.parse().map_err(|what| HeaderError::Malformed { name: "Via", what })
    }

    /// Returns the contacts: `*`, or a list that may be empty.
    ///
    /// # Errors
    ///
    /// One is broken, or `*` stands among others.
    pub fn contacts(&self) -> Result<Contacts, HeaderError> {
        let mut values = self.find_known(Name::Contact);
        if values.next().is_some_and(|first| first.value() == b"*") {
            return match values.next() {
                None => Ok(Contacts::Star),
                Some(_) => Err(HeaderError::Malformed { name: "Contact", what: "* among others" }),
            };
        }
        self.many(Name::Contact, "Contact").map(Contacts::List)
    }

    /// Returns every Record-Route value in order. Their [`NameAddr::raw`] is exactly what was sent.
    ///
    /// # Errors
    ///
    /// One is broken or not UTF-8.
    pub fn record_routes(&self) -> Result<Vec<NameAddr>, HeaderError> {
        self.routes_of(Name::RecordRoute, "Record-Route")
    }

    /// Returns every Route value in order. Their [`NameAddr::raw`] is exactly what was sent.
    ///
    /// # Errors
    ///
    /// One is broken or not UTF-8.
    pub fn routes(&self) -> Result<Vec<NameAddr>, HeaderError> {
        self.routes_of(Name::Route, "Route")
    }

    /// Returns Max-Forwards: 0 to 255. `None` if it is absent or no such number; [`Message::validate`] tells which.
    pub fn max_forwards(&self) -> Option<u32> {
        self.number(Name::MaxForwards).filter(|&hops| hops <= 255)
    }

    /// Returns Expires in seconds. A number beyond 32 bits is the largest one (RFC 3261 section 20.19 asks for a
    /// default on nonsense: then this is `None`).
    pub fn expires(&self) -> Option<u32> {
        self.number(Name::Expires)
    }

    /// Checks what every message must have and what its fields say: Via, From, To, Call-ID and CSeq can be read, the
    /// method of CSeq is that of the request, Max-Forwards is a number, Contact and routes can be read, and the
    /// Request-URI is one of a scheme we know.
    ///
    /// # Errors
    ///
    /// A [`ParseError`] with 400, or 416 for the scheme; it can answer the message.
    pub fn validate(&self) -> Result<(), ParseError> {
        self.check().map_err(|(status, what)| ParseError::new(status, what, 0).with_head(self.wire.clone()))
    }

    fn check(&self) -> Result<(), (u16, &'static str)> {
        let bad = |what| move |_: HeaderError| (400, what);
        self.vias().map_err(bad("Via is missing or broken"))?;
        self.from().map_err(bad("From is missing or broken"))?;
        self.to().map_err(bad("To is missing or broken"))?;
        self.call_id().map_err(bad("Call-ID is missing or broken"))?;
        let cseq = self.cseq().map_err(bad("CSeq is missing or broken"))?;
        self.contacts().map_err(bad("Contact is broken"))?;
        self.record_routes().map_err(bad("Record-Route is broken"))?;
        self.routes().map_err(bad("Route is broken"))?;
        if self.find_known(Name::MaxForwards).next().is_some() && self.max_forwards().is_none() {
            return Err((400, "Max-Forwards is not 0 to 255"));
        }
        let Some(uri) = self.request_uri() else {
            return Ok(());
        };
        if self.method().is_some_and(|method| method != cseq.method) {
            return Err((400, "method of CSeq is not that of the request"));
        }
        match uri.parse::<Uri>() {
            // Embedded headers have no place there (RFC 3261 section 19.1.1).
            Ok(Uri { headers, .. }) if !headers.is_empty() => Err((400, "Request-URI with headers")),
            Ok(Uri { scheme: Scheme::Sip | Scheme::Sips | Scheme::Tel, .. }) => Ok(()),
            Ok(Uri { scheme: Scheme::Other(_), .. }) => Err((416, "scheme of the Request-URI is unknown")),
            Err(_) => Err((400, "Request-URI is broken")),
        }
    }

    fn one<T: FromStr<Err = &'static str>>(&self, known: Name, name: &'static str) -> Result<T, HeaderError> {
        let header = self.find_known(known).next().ok_or(HeaderError::Missing(name))?;
        header.text().parse().map_err(|what| HeaderError::Malformed { name, what })
    }

    fn many<T: FromStr<Err = &'static str>>(
        &self,
        known: Name,
        name: &'static str,
    ) -> Result<Vec<T>, HeaderError> {
        let mut values = Vec::new();
        for header in self.find_known(known) {
            for part in scan::split(&header.text(), b',').map(str::trim).filter(|part| !part.is_empty()) {
                values.push(part.parse().map_err(|what| HeaderError::Malformed { name, what })?);
            }
        }
        Ok(values)
    }

    fn routes_of(&self, known: Name, name: &'static str) -> Result<Vec<NameAddr>, HeaderError> {
        if self.find_known(known).any(|header| str::from_utf8(header.value()).is_err()) {
            return Err(HeaderError::Malformed { name, what: "not UTF-8, so it could not be echoed" });
        }
        self.many(known, name)
    }

    fn number(&self, known: Name) -> Option<u32> {
        let value = self.find_known(known).next()?.value();
        scan::digits(value).map(|number| u32::try_from(number).unwrap_or(u32::MAX))
    }
}
