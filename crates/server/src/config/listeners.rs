//! Listeners: `NAME://host:port`, and the security protocol of each name.

use std::fmt;

/// How a listener's bytes are protected; the numbers are those of registration records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i16)]
pub enum SecurityProtocol {
    Plaintext = 0,
    Ssl = 1,
    SaslPlaintext = 2,
    SaslSsl = 3,
}

impl SecurityProtocol {
    /// The protocol of this name, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Plaintext, Self::Ssl, Self::SaslPlaintext, Self::SaslSsl]
            .into_iter()
            .find(|protocol| protocol.name().eq_ignore_ascii_case(name))
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Plaintext => "PLAINTEXT",
            Self::Ssl => "SSL",
            Self::SaslPlaintext => "SASL_PLAINTEXT",
            Self::SaslSsl => "SASL_SSL",
        }
    }

    pub fn is_tls(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }

    pub fn is_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }
}

/// One address under a listener's name: to open, or to tell others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// In upper case, as Kafka keeps it.
    pub listener: String,
    /// Empty: every interface when opened, this machine's name when told. IPv6 without brackets.
    pub host: String,
    /// 0: any free port when opened, the opened one when told.
    pub port: u16,
    pub protocol: SecurityProtocol,
}

impl Endpoint {
    /// Reads `NAME://host:port`; the protocol is filled in later from the map.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (name, address) = text.trim().split_once("://")?;
        let (host, port) = address.rsplit_once(':')?;
        let host = match host.strip_prefix('[') {
            Some(inner) => inner.strip_suffix(']')?,
            None if host.contains([':', '/']) => return None,
            None => host,
        };
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b)) {
            return None;
        }
        Some(Self {
            listener: name.to_ascii_uppercase(),
            host: host.to_owned(),
            port: port.parse().ok()?,
            protocol: SecurityProtocol::Plaintext,
        })
    }

    /// Whether this address answers on every interface.
    pub fn is_wildcard(&self) -> bool {
        matches!(self.host.as_str(), "" | "0.0.0.0" | "::" | "0:0:0:0:0:0:0:0")
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "{}://[{}]:{}", self.listener, self.host, self.port),
            false => write!(f, "{}://{}:{}", self.listener, self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        let parsed = |text: &str| Endpoint::parse(text).map(|e| (e.to_string(), e.is_wildcard()));
        assert_eq!(parsed("PLAINTEXT://:9092"), Some(("PLAINTEXT://:9092".into(), true)));
        assert_eq!(parsed(" in-side://[::1]:0"), Some(("IN-SIDE://[::1]:0".into(), false)));
        for bad in ["", "PLAINTEXT", "PLAINTEXT://x", "://x:1", "A://x:99999", "A://::1:1", "A B://x:1"] {
            assert_eq!(parsed(bad), None, "{bad}");
        }
    }
}
