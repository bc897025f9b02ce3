//! The way from a URL to a TLS connection.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Outbound, Unreached};

/// Dials whom a URL names, if it may be dialled.
#[derive(Clone)]
pub(crate) struct Connector(Arc<Way>);

struct Way {
    outbound: Outbound,
    tls: TlsConnector,
}

impl Connector {
    pub(super) fn new(outbound: Outbound, tls: TlsConnector) -> Self {
        Self(Arc::new(Way { outbound, tls }))
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = Tls;
    type Error = Unreached;
    type Future = Pin<Box<dyn Future<Output = Result<Tls, Unreached>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Unreached>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, url: Uri) -> Self::Future {
        let way = Arc::clone(&self.0);
        Box::pin(async move { way.dial(&url).await })
    }
}

impl Way {
    async fn dial(&self, url: &Uri) -> Result<Tls, Unreached> {
        if url.scheme_str() != Some("https") {
            return Err(Unreached::NotHttps);
        }
        let host = url.host().ok_or(Unreached::NoName)?;
        let name = ServerName::try_from(host.to_owned()).map_err(|_| Unreached::NoName)?;
        let mut failure = Unreached::NoAddress;
        for address in self.outbound.addresses(host, url.port_u16().unwrap_or(443)).await? {
            let tcp = match TcpStream::connect(address).await {
                Ok(tcp) => tcp,
                Err(error) => {
                    failure = Unreached::Unreachable(address, error);
                    continue;
                }
            };
            // A small request must not wait for the acknowledgement of the one before.
            let _ = tcp.set_nodelay(true);
            match self.tls.connect(name.clone(), tcp).await {
                Ok(tls) => return Ok(Tls(TokioIo::new(tls))),
                Err(error) => failure = Unreached::Unreachable(address, error),
            }
        }
        Err(failure)
    }
}

/// One connection.
pub(crate) struct Tls(TokioIo<TlsStream<TcpStream>>);

impl Connection for Tls {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Tls {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl Write for Tls {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
