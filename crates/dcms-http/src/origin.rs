//! Where a request comes from, and whether it came over TLS: what the connection says, or what a
//! proxy says that the configuration trusts.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use axum::extract::{ConnectInfo, Request};
use axum::http::header::USER_AGENT;
use axum::http::{HeaderMap, HeaderName};
use dcms_domain::access::Origin;
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// How much of a `User-Agent` is kept.
const MAX_AGENT_CHARS: usize = 200;

/// The networks of the proxies whose word on a request is taken: of `X-Forwarded-For` and
/// `X-Forwarded-Proto`. Nobody's by default. Parsed from addresses and CIDR networks with commas
/// between them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Whether nobody is trusted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a client with this address is trusted.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The address of whoever sent a request that arrived from `peer`.
    fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let peer = peer.to_canonical();
        if !self.contains(peer) {
            return peer;
        }
        // Each proxy adds whom it heard from at the end, so only what stands behind the last
        // stranger is vouched for; whatever stands before may be made up.
        let values = headers.get_all(X_FORWARDED_FOR).iter().rev();
        let hops = values.flat_map(|value| value.to_str().unwrap_or_default().rsplit(','));
        let mut client = peer;
        for hop in hops {
            match address_of(hop.trim()) {
                None => return peer,
                Some(address) if self.contains(address) => client = address,
                Some(address) => return address,
            }
        }
        client
    }

    /// Whether the client's connection was TLS, by the word of the trusted `peer`.
    fn vouch_for_tls(&self, peer: IpAddr, headers: &HeaderMap) -> bool {
        let said = headers.get_all(X_FORWARDED_PROTO).iter().next_back();
        let protocol = said.and_then(|value| value.to_str().ok());
        self.contains(peer.to_canonical())
            && protocol.is_some_and(|protocol| protocol.trim().eq_ignore_ascii_case("https"))
    }
}

impl FromStr for TrustedProxies {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split(',').map(str::trim);
        let network = |part: &str| {
            let address = || part.parse().ok().map(|ip: IpAddr| ip.to_canonical().into());
            let network = part.parse().ok().or_else(address);
            network.ok_or_else(|| format!("{part:?} is neither an address nor a network"))
        };
        parts
            .filter(|part| !part.is_empty())
            .map(network)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// A hop as proxies write it: an address, with a port behind it or not.
fn address_of(hop: &str) -> Option<IpAddr> {
    let with_port = || hop.parse().ok().map(|address: SocketAddr| address.ip());
    let address: IpAddr = hop.parse().ok().or_else(with_port)?;
    Some(address.to_canonical())
}

/// The origin of a request of that name.
pub(crate) fn origin_of(request: &Request, name: &str, proxies: &TrustedProxies) -> Origin {
    let headers = request.headers();
    Origin {
        address: peer_of(request).map(|peer| proxies.client(peer, headers)),
        agent: agent_of(headers),
        request_id: Some(name.to_owned()),
    }
}

/// Whether a proxy that is trusted says that the client speaks TLS to it.
pub(crate) fn came_over_tls(request: &Request, proxies: &TrustedProxies) -> bool {
    peer_of(request).is_some_and(|peer| proxies.vouch_for_tls(peer, request.headers()))
}

fn peer_of(request: &Request) -> Option<IpAddr> {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    peer.map(|ConnectInfo(peer)| peer.ip())
}

fn agent_of(headers: &HeaderMap) -> Option<String> {
    let sent = String::from_utf8_lossy(headers.get(USER_AGENT)?.as_bytes()).into_owned();
    let visible = sent.chars().filter(|character| !character.is_control());
    let agent: String = visible.take(MAX_AGENT_CHARS).collect();
    (!agent.is_empty()).then_some(agent)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn proxies() -> TrustedProxies {
        "10.0.0.0/8, 192.0.2.1,fd00::/8,".parse().unwrap()
    }

    fn forwarded(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(X_FORWARDED_FOR, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn client(proxies: &TrustedProxies, peer: &str, values: &[&str]) -> String {
        let peer = peer.parse().unwrap();
        proxies.client(peer, &forwarded(values)).to_string()
    }

    #[test]
    fn proxies_are_addresses_and_networks() {
        assert!("".parse::<TrustedProxies>().unwrap().is_empty());
        for trusted in ["10.255.0.1", "192.0.2.1", "fd12::1"] {
            assert!(proxies().contains(trusted.parse().unwrap()), "{trusted}");
        }
        for other in ["11.0.0.1", "192.0.2.2", "2001:db8::1"] {
            assert!(!proxies().contains(other.parse().unwrap()), "{other}");
        }
        for wrong in ["10.0.0.0/33", "proxy.example", "10.0.0.1 10.0.0.2", "*"] {
            assert!(wrong.parse::<TrustedProxies>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn nobody_is_believed_who_is_not_trusted() {
        let nobody = TrustedProxies::default();
        assert_eq!(client(&nobody, "10.0.0.1", &["198.51.100.7"]), "10.0.0.1");
        assert_eq!(
            client(&proxies(), "203.0.113.9", &["198.51.100.7"]),
            "203.0.113.9"
        );
    }

    #[test]
    fn the_last_stranger_before_the_trusted_proxies_is_the_client() {
        let of = |values: &[&str]| client(&proxies(), "10.0.0.1", values);
        assert_eq!(of(&["198.51.100.7"]), "198.51.100.7");
        // What the client itself wrote stands to the left and counts for nothing.
        assert_eq!(of(&["127.0.0.1, 198.51.100.7"]), "198.51.100.7");
        assert_eq!(of(&["nonsense, 198.51.100.7, 10.2.3.4"]), "198.51.100.7");
        // Two headers are one list.
        assert_eq!(
            of(&["127.0.0.1", "198.51.100.7", "10.9.9.9"]),
            "198.51.100.7"
        );
        assert_eq!(of(&["::ffff:198.51.100.7"]), "198.51.100.7");
        assert_eq!(of(&["198.51.100.7:4711"]), "198.51.100.7");
        assert_eq!(of(&["[2001:db8::7]:4711"]), "2001:db8::7");
        assert_eq!(of(&["2001:db8::7"]), "2001:db8::7");
    }

    #[test]
    fn a_request_of_the_proxies_own_comes_from_the_first_of_them() {
        assert_eq!(client(&proxies(), "10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(
            client(&proxies(), "10.0.0.1", &["10.0.0.3, 10.0.0.2"]),
            "10.0.0.3"
        );
    }

    #[test]
    fn a_header_that_makes_no_sense_falls_back_to_the_peer() {
        for wrong in [
            "",
            "unknown",
            "198.51.100.7, ",
            "198.51.100.7, x",
            "1.2.3",
            "a,b",
        ] {
            assert_eq!(
                client(&proxies(), "10.0.0.1", &[wrong]),
                "10.0.0.1",
                "{wrong}"
            );
        }
        let mut headers = HeaderMap::new();
        headers.insert(X_FORWARDED_FOR, HeaderValue::from_bytes(b"\xff").unwrap());
        let peer = "10.0.0.1".parse().unwrap();
        assert_eq!(proxies().client(peer, &headers), peer);
    }

    #[test]
    fn a_mapped_address_is_the_one_it_stands_for() {
        let nobody = TrustedProxies::default();
        assert_eq!(client(&nobody, "::ffff:203.0.113.9", &[]), "203.0.113.9");
        assert_eq!(
            client(&proxies(), "::ffff:10.0.0.1", &["198.51.100.7"]),
            "198.51.100.7"
        );
    }

    #[test]
    fn tls_in_front_is_believed_of_trusted_proxies_only() {
        let says = |peer: &str, values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(X_FORWARDED_PROTO, HeaderValue::from_static(value));
            }
            proxies().vouch_for_tls(peer.parse().unwrap(), &headers)
        };
        assert!(says("10.0.0.1", &["https"]));
        assert!(says("10.0.0.1", &["http", "HTTPS"]));
        assert!(!says("10.0.0.1", &["https", "http"]));
        assert!(!says("10.0.0.1", &["http"]));
        assert!(!says("10.0.0.1", &[]));
        assert!(!says("203.0.113.9", &["https"]));
    }

    #[test]
    fn an_agent_is_short_and_visible() {
        let agent = |value: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(USER_AGENT, HeaderValue::from_bytes(value).unwrap());
            agent_of(&headers)
        };
        assert_eq!(agent(b"a\tb \xc2\x85c").as_deref(), Some("ab c"));
        assert_eq!(agent("é".repeat(300).as_bytes()), Some("é".repeat(200)));
        assert_eq!(agent(b"\t"), None);
        assert_eq!(agent_of(&HeaderMap::new()), None);
    }
}
