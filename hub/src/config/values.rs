//! The second stage: what single settings may be. Each reason continues the sentence that begins with the setting.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use skiff_shared::ids::is_dns_subdomain;
use tracing::Level;

use crate::api::AuditLevel;

pub(super) fn audit_level(text: &str) -> Result<AuditLevel, String> {
    let named = AuditLevel::ALL.into_iter().find(|level| level.as_str() == text);
    named.ok_or_else(|| "is not one of Metadata, Request, RequestResponse".into())
}

pub(super) fn positive_count(text: &str) -> Result<u32, String> {
    let count = text.parse().ok().filter(|count| (1..=10_000).contains(count));
    count.ok_or_else(|| "is not a number from 1 to 10000".into())
}

pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("must not be empty".into()) } else { Ok(text.into()) }
}

pub(super) fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "is not an IP address and port such as 0.0.0.0:6443".into())
}

pub(super) fn reachable_address(text: &str) -> Result<IpAddr, String> {
    match text.parse::<IpAddr>() {
        Ok(ip) if !ip.is_unspecified() && !ip.is_multicast() => Ok(ip),
        Ok(_) => Err("is not an address that others can reach".into()),
        Err(_) => Err("is not an IP address".into()),
    }
}

pub(super) fn ipv4_address(text: &str) -> Result<Ipv4Addr, String> {
    text.parse().map_err(|_| "is not an IPv4 address".into())
}

pub(super) fn pod_network(text: &str) -> Result<Ipv4Net, String> {
    let net: Ipv4Net = text.parse()?;
    if net.prefix > 24 { Err("is too small: every node gets a /24".into()) } else { Ok(net) }
}

pub(super) fn service_network(text: &str) -> Result<Ipv4Net, String> {
    let net: Ipv4Net = text.parse()?;
    if net.prefix > 28 { Err("is too small: it must be a /28 or larger".into()) } else { Ok(net) }
}

pub(super) fn domain(text: &str) -> Result<String, String> {
    if is_dns_subdomain(text) { Ok(text.to_owned()) } else { Err("is not a DNS domain name".into()) }
}

pub(super) fn positive_duration(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        Duration::ZERO => Err("must be longer than 0s".into()),
        duration => Ok(duration),
    }
}

pub(super) fn positive_number(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| "is not a number greater than 0".into())
}

pub(super) fn level(text: &str) -> Result<Level, String> {
    // Level::from_str takes numbers too; the documented names are enough.
    let known = ["error", "warn", "info", "debug", "trace"].contains(&text);
    text.parse().ok().filter(|_| known).ok_or_else(|| "is not one of error, warn, info, debug, trace".into())
}

/// Parses a duration as Kubernetes writes it: `24h`, `90s`, `1h30m`, `250ms`.
///
/// # Errors
/// A reason that continues a sentence, e.g. `is not a duration such as 24h, 90s or 1h30m`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || "is not a duration such as 24h, 90s or 1h30m".to_owned();
    let (mut total, mut rest) = (Duration::ZERO, text);
    while total == Duration::ZERO && rest == text || !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        let units = &rest[digits..];
        let end = units.find(|c: char| c.is_ascii_digit()).unwrap_or(units.len());
        let millis = match &units[..end] {
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1_000,
            "ms" => 1,
            _ => return Err(wrong()),
        };
        let part = number.checked_mul(millis).map(Duration::from_millis);
        total = part.and_then(|part| total.checked_add(part)).ok_or_else(|| "is too long".to_owned())?;
        rest = &units[end..];
    }
    Ok(total)
}

/// An IPv4 network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv4Net {
    address: Ipv4Addr,
    prefix: u8,
}

impl Ipv4Net {
    /// Its first address.
    pub fn address(self) -> Ipv4Addr {
        self.address
    }

    /// Length of its prefix in bits.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// Whether an address is in it.
    pub fn contains(self, ip: Ipv4Addr) -> bool {
        ip.to_bits() & self.mask() == self.address.to_bits()
    }

    /// Whether some address is in both.
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }

    /// The address `n` after the first; it may lie beyond the network.
    pub fn nth(self, n: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.address.to_bits().saturating_add(n))
    }

    fn mask(self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0)
    }
}

impl FromStr for Ipv4Net {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "is not an IPv4 network such as 10.42.0.0/16".to_owned();
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let net = Self { address: address.parse().map_err(|_| wrong())?, prefix: prefix.parse().map_err(|_| wrong())? };
        if net.prefix > 32 {
            return Err(wrong());
        }
        let first = Ipv4Addr::from_bits(net.address.to_bits() & net.mask());
        if first == net.address {
            Ok(net)
        } else {
            Err(format!("has bits set beyond its prefix; {first}/{prefix} is meant?"))
        }
    }
}

impl fmt::Display for Ipv4Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_add_up() {
        let cases = [("24h", 86_400_000), ("90s", 90_000), ("1h30m", 5_400_000), ("1m5s250ms", 65_250), ("0s", 0)];
        for (text, millis) in cases {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "5", "h", "5x", "-5s", "5 s", "1.5h", "5sm", "99999999999999999999s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        assert_eq!(parse_duration("9999999999999999h"), Err("is too long".into()));
    }

    #[test]
    fn networks_are_parsed_strictly() {
        for good in ["10.42.0.0/16", "0.0.0.0/0", "10.0.0.1/32", "192.168.128.0/17"] {
            assert_eq!(good.parse::<Ipv4Net>().unwrap().to_string(), good);
        }
        for bad in ["10.42.0.0", "10.42.0.0/33", "10.42.0/16", "fd00::/8", "10.42.0.0/", "10.42.0.0/-1", "10.42.1.0/16"]
        {
            assert!(bad.parse::<Ipv4Net>().is_err(), "{bad}");
        }
    }

    #[test]
    fn networks_know_their_addresses() {
        let net = |text: &str| text.parse::<Ipv4Net>().unwrap();
        assert!(net("10.42.0.0/16").contains(Ipv4Addr::new(10, 42, 255, 255)));
        assert!(!net("10.42.0.0/16").contains(Ipv4Addr::new(10, 43, 0, 0)));
        assert!(net("0.0.0.0/0").contains(Ipv4Addr::new(1, 2, 3, 4)));
        assert!(net("10.0.0.0/8").overlaps(net("10.42.0.0/16")) && net("10.42.0.0/16").overlaps(net("10.0.0.0/8")));
        assert!(!net("10.42.0.0/16").overlaps(net("10.43.0.0/16")));
        assert_eq!(net("10.43.0.0/16").nth(1), Ipv4Addr::new(10, 43, 0, 1));
    }
}
