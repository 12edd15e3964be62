//! The name in a client's certificate, which logs it in where that is wanted (etcd: `AuthInfoFromTLS`).
//!
//! Whoever terminated the connection has verified the certificate, so it is only read here, as far as the subject (RFC
//! 5280 §4.1), with DER's lengths checked. Rejected: a parser of whole certificates, for one field.

use std::sync::Arc;

/// The common name of whoever made a connection: in the extensions of each of its requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateName(pub Arc<str>);

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT: u8 = 0x06;
/// The version, which the first version leaves out.
const VERSION: u8 = 0xa0;
/// UTF-8, printable, Teletex and IA5 strings: texts a byte or more a character.
const TEXTS: [u8; 4] = [0x0c, 0x13, 0x14, 0x16];
/// `id-at-commonName`, 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

impl CertificateName {
    /// The name of the subject of a certificate in DER; the last where there are several. None where there is none, or
    /// the bytes are no certificate.
    pub fn of(certificate: &[u8]) -> Option<Self> {
        let (whole, _) = expect(certificate, SEQUENCE)?;
        let (mut fields, _) = expect(whole, SEQUENCE)?;
        if fields.first() == Some(&VERSION) {
            fields = element(fields)?.2;
        }
        // The serial number, the signature's algorithm, the issuer, the validity.
        for _ in 0..4 {
            fields = element(fields)?.2;
        }
        let (mut names, _) = expect(fields, SEQUENCE)?;
        let mut found = None;
        while !names.is_empty() {
            let (mut set, rest) = expect(names, SET)?;
            names = rest;
            while !set.is_empty() {
                let (attribute, rest) = expect(set, SEQUENCE)?;
                set = rest;
                let (kind, value) = expect(attribute, OBJECT)?;
                let (tag, text, _) = element(value)?;
                if kind == COMMON_NAME && TEXTS.contains(&tag) {
                    found = Some(std::str::from_utf8(text).ok()?);
                }
            }
        }
        found.map(|name| Self(name.into()))
    }
}

/// The first element: its tag, its content, and what is behind it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first >= 0x80 {
        let digits = usize::from(first & 0x7f);
        // None is the indefinite form, which DER has not; four are more than any certificate.
        if !(1..=4).contains(&digits) {
            return None;
        }
        let (number, behind) = rest.split_at_checked(digits)?;
        length = number.iter().fold(0, |length, digit| length << 8 | usize::from(*digit));
        rest = behind;
    }
    let (content, behind) = rest.split_at_checked(length)?;
    Some((tag, content, behind))
}

/// The content of the first element, which has this tag, and what is behind it.
fn expect(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = element(der)?;
    (found == tag).then_some((content, rest))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    fn certificate(names: &[(DnType, &str)]) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, name) in names {
            params.distinguished_name.push(kind.clone(), *name);
        }
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn the_subjects_common_name_is_found_and_nothing_else() {
        let named = certificate(&[
            (DnType::OrganizationName, "an organization"),
            (DnType::CommonName, "root"),
            (DnType::CountryName, "CH"),
        ]);
        assert_eq!(CertificateName::of(&named), Some(CertificateName("root".into())));
        let nameless = certificate(&[(DnType::OrganizationName, "root")]);
        assert_eq!(CertificateName::of(&nameless), None);
        for length in 0..named.len() {
            drop(CertificateName::of(&named[..length]));
        }
        assert_eq!(CertificateName::of(&[]), None);
        assert_eq!(CertificateName::of(&[0x30, 0x80, 0, 0]), None, "the indefinite form");
    }
}
