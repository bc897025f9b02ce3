//! The small edits that transports and transactions make. Each writes the message anew.

use std::net::SocketAddr;

use super::{BuildError, Message};
use crate::scan;
use crate::uri::Host;
use crate::via::Via;

impl Message {
    /// Returns a copy with `via` as its topmost Via line.
    ///
    /// # Errors
    ///
    /// `via` holds CR, LF or NUL, or the message becomes too large.
    pub fn with_top_via(&self, via: &str) -> Result<Self, BuildError> {
        self.to_builder().header_first("Via", via).build()
    }

    /// Returns a copy without its topmost Via value.
    ///
    /// # Errors
    ///
    /// There is no Via.
    pub fn without_top_via(&self) -> Result<Self, BuildError> {
        self.edit_top_via(|_| Ok(None))
    }

    /// Returns a copy whose topmost Via tells where the request came from: `received` if the host it names is not
    /// that address or `rport` was asked for, and the value of `rport` (RFC 3261 section 18.2.1, RFC 3581
    /// section 4). What the peer itself wrote there is overwritten.
    ///
    /// # Errors
    ///
    /// There is no readable Via.
    pub fn with_received(&self, source: SocketAddr) -> Result<Self, BuildError> {
        self.edit_top_via(|top| {
            let mut via: Via = top.parse().map_err(|_| BuildError::Via)?;
            let address = source.ip().to_canonical();
            let rport = via.params.get("rport").is_some();
            via.params.remove("received");
            if rport {
                via.params.set("rport", Some(source.port().to_string()));
            }
            if rport || via.host != Host::from(address) {
                via.params.set("received", Some(address.to_string()));
            }
            Ok(Some(via.to_string()))
        })
    }

    /// Replaces the first value of the first Via line, or takes it out.
    fn edit_top_via(
        &self,
        edit: impl FnOnce(&str) -> Result<Option<String>, BuildError>,
    ) -> Result<Self, BuildError> {
        let first = self.header("Via").ok_or(BuildError::Via)?;
        let comma = scan::find_outside(first.as_bytes(), b',').unwrap_or(first.len());
        let (top, rest) = first.split_at_checked(comma).ok_or(BuildError::Via)?;
        let edited = edit(top.trim())?;
        let rest = rest.get(1..).map(str::trim).filter(|rest| !rest.is_empty());
        let line = match (edited, rest) {
            (Some(top), Some(rest)) => Some(format!("{top}, {rest}")),
            (Some(only), None) => Some(only),
            (None, rest) => rest.map(str::to_owned),
        };
        self.to_builder().replace_first("Via", line.map(String::into_bytes)).build()
    }
}
