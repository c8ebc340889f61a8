//! Connections: accepted, secured, and given to the router, within bounds that no client sets.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use dcms_http::TrustedProxies;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use crate::tls::Tls;

/// How many bytes the line and the headers of a request may have.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// How long to wait when the machine gives no more connections.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// How connections are served.
pub struct Transport {
    /// TLS; plain HTTP without.
    pub tls: Option<Tls>,
    /// To whom besides this machine plain HTTP is spoken; to everybody when nobody is named.
    pub plain_http_peers: Option<TrustedProxies>,
    /// How long a client may take for the TLS handshake, and for the headers of each request; an
    /// idle connection is closed after that time too.
    pub header_timeout: Duration,
    /// How long a client may take none of what it is sent.
    pub write_timeout: Duration,
    /// How many connections there may be at once; more wait until one ends.
    pub max_connections: usize,
}

impl Default for Transport {
    fn default() -> Self {
        Self {
            tls: None,
            plain_http_peers: None,
            header_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(20),
            // What 1,024 open files, the usual limit, leave room for.
            max_connections: 900,
        }
    }
}

/// What every connection is served with.
#[derive(Clone)]
pub(crate) struct Connections {
    router: Router,
    tls: Option<TlsAcceptor>,
    plain_http_peers: Option<TrustedProxies>,
    header_timeout: Duration,
    write_timeout: Duration,
    at_most: usize,
}

impl Connections {
    pub(crate) fn new(router: Router, transport: &Transport) -> Self {
        Self {
            router,
            tls: transport.tls.as_ref().map(Tls::acceptor),
            plain_http_peers: transport.plain_http_peers.clone(),
            header_timeout: transport.header_timeout,
            write_timeout: transport.write_timeout,
            at_most: transport.max_connections,
        }
    }

    /// Accepts and serves connections for as long as it is asked to.
    pub(crate) async fn accept(
        &self,
        listener: &TcpListener,
        shutdown: &GracefulShutdown,
    ) -> Infallible {
        let free = Arc::new(Semaphore::new(self.at_most));
        loop {
            // It is never closed, so there always is a permit in the end.
            let permit = Arc::clone(&free).acquire_owned().await;
            let (stream, peer) = next_of(listener).await;
            let (connections, watcher) = (self.clone(), shutdown.watcher());
            tokio::spawn(async move {
                connections.serve(stream, peer, watcher).await;
                drop(permit);
            });
        }
    }

    async fn serve(self, stream: TcpStream, peer: SocketAddr, watcher: Watcher) {
        // Answers are written whole: waiting for more to send gains nothing.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection is gone");
            return;
        }
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.write_timeout));
        let stream = Box::pin(stream);
        let Some(tls) = self.tls.clone() else {
            if self.speaks_plain_http_with(peer.ip()) {
                self.serve_http(stream, peer, watcher).await;
            } else {
                tracing::debug!("a client that is no trusted proxy was turned away");
            }
            return;
        };
        match tokio::time::timeout(self.header_timeout, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.serve_http(stream, peer, watcher).await,
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        }
    }

    fn speaks_plain_http_with(&self, peer: IpAddr) -> bool {
        let named = self.plain_http_peers.as_ref();
        peer.to_canonical().is_loopback() || named.is_none_or(|named| named.contains(peer))
    }

    async fn serve_http<Stream>(self, stream: Stream, peer: SocketAddr, watcher: Watcher)
    where
        Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let router = self.router;
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            router.clone().oneshot(request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.header_timeout)
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service);
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!(%error, "a connection broke");
        }
    }
}

/// The next connection, whatever happens to others before it.
async fn next_of(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error)
                if matches!(
                    error.kind(),
                    ConnectionAborted | ConnectionRefused | ConnectionReset
                ) => {}
            Err(error) => {
                // Open files or memory are used up; trying at once would use up a core as well.
                tracing::error!(%error, "no connection can be accepted now");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
