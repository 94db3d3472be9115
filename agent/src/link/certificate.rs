//! Reads the two things the agent must know of its own certificate: whose it is and when it ends.
//!
//! A full X.509 parser would cost the agent more memory than this walk over the outer DER structure. The input is
//! the agent's own certificate, which TLS has verified; anything unexpected is `None`.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    /// The subject's common name.
    pub(super) common_name: String,
    /// From when it is good.
    pub(super) not_before: Timestamp,
    /// Until when it is good.
    pub(super) not_after: Timestamp,
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_ID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const EXPLICIT_VERSION: u8 = 0xa0;
/// 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// Reads a certificate.
pub(super) fn facts(der: &[u8]) -> Option<Facts> {
    let mut certificate = Der(expect(&mut Der(der), SEQUENCE)?);
    let mut fields = Der(expect(&mut certificate, SEQUENCE)?);
    let (tag, _) = fields.next()?;
    if tag == EXPLICIT_VERSION {
        fields.next()?;
    }
    // Signature algorithm and issuer.
    fields.next()?;
    fields.next()?;
    let mut validity = Der(expect(&mut fields, SEQUENCE)?);
    let (not_before, not_after) = (time(validity.next()?)?, time(validity.next()?)?);
    let common_name = common_name(Der(expect(&mut fields, SEQUENCE)?))?;
    Some(Facts { common_name, not_before, not_after })
}

fn common_name(mut subject: Der<'_>) -> Option<String> {
    while let Some((SET, set)) = subject.next() {
        let mut attribute = Der(expect(&mut Der(set), SEQUENCE)?);
        if expect(&mut attribute, OBJECT_ID)? == COMMON_NAME {
            return String::from_utf8(attribute.next()?.1.to_vec()).ok();
        }
    }
    None
}

fn time((tag, text): (u8, &[u8])) -> Option<Timestamp> {
    let text = std::str::from_utf8(text).ok()?;
    let full = match tag {
        // RFC 5280, 4.1.2.5.1: two-digit years from 50 on are of the last century.
        UTC_TIME if text.get(..2)? >= "50" => format!("19{text}"),
        UTC_TIME => format!("20{text}"),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let local = DateTime::strptime("%Y%m%d%H%M%SZ", full).ok()?;
    local.to_zoned(TimeZone::UTC).ok().map(|z| z.timestamp())
}

fn expect<'a>(der: &mut Der<'a>, tag: u8) -> Option<&'a [u8]> {
    der.next().filter(|(found, _)| *found == tag).map(|(_, content)| content)
}

/// A sequence of DER values.
struct Der<'a>(&'a [u8]);

impl<'a> Iterator for Der<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let mut length = usize::from(first);
        if first >= 0x80 {
            let (bytes, after) = rest.split_at_checked(usize::from(first & 0x7f)).filter(|(b, _)| b.len() <= 3)?;
            length = bytes.iter().fold(0, |n, b| n << 8 | usize::from(*b));
            rest = after;
        }
        let (content, after) = rest.split_at_checked(length)?;
        self.0 = after;
        Some((tag, content))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};

    fn certificate(end_year: i32) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
        params.distinguished_name.push(DnType::CommonName, "system:node:edge");
        params.not_before = date_time_ymd(2026, 1, 2);
        params.not_after = date_time_ymd(end_year, 3, 4);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn name_and_end_are_read_from_both_forms_of_time() {
        for year in [2027, 2060] {
            let facts = facts(&certificate(year)).unwrap();
            assert_eq!(facts.common_name, "system:node:edge");
            assert_eq!(facts.not_before.to_string(), "2026-01-02T00:00:00Z");
            assert_eq!(facts.not_after.to_string(), format!("{year}-03-04T00:00:00Z"));
        }
    }

    proptest! {
        #[test]
        fn broken_certificates_do_not_panic(at in 0usize..200, byte: u8, cut in 0usize..400) {
            let mut der = certificate(2027);
            der[at] = byte;
            der.truncate(cut);
            let _ = facts(&der);
        }
    }
}
