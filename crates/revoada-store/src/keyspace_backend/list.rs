//! Lists in pages, all of them at the revision of the first.
//!
//! A page ends where its last item stood, and the next begins behind that key at the same revision: the token is
//! those two, and nothing is kept between pages. Rejected: an open cursor for each reader, which needs a time-out, a
//! limit and a place, and dies with its node.

use std::fmt::Write as _;

use bytes::Bytes;
use revoada_core::keyspace::{Entry, KeyRange, Keyspace as View, RangeQuery, Revision};
use revoada_core::resource::{RESOURCE_PREFIX, ResourceRef, key, key_prefix, parse_key};

use super::{give_way, got, unreadable};
use crate::backend::{Got, KindFilter, ListRequest, Listing};
use crate::error::StoreError;
use crate::limits::{CONTINUE_TOKEN_CHARS_MAX, LIST_PAGE_ITEMS_MAX, SCAN_ENTRIES_MAX};

/// Reads one page.
pub(super) async fn page(view: &View, request: &ListRequest) -> Result<Listing, StoreError> {
    let fingerprint = fingerprint(request);
    let (revision, mut after) = match &request.continue_token {
        Some(token) => {
            let token = Token::parse(token, &fingerprint)?;
            if request.read.revision.is_some_and(|asked| asked != token.revision) {
                return Err(StoreError::invalid(
                    "a continue token goes on at the revision of the first page",
                ));
            }
            (token.revision, Some(token.after))
        }
        None => (request.read.revision.unwrap_or_else(|| view.revision()), None),
    };
    let limit = request.limit.unwrap_or(LIST_PAGE_ITEMS_MAX).min(LIST_PAGE_ITEMS_MAX);
    if limit == 0 {
        return Err(StoreError::invalid(
            "a page has at least one item; leave the limit out to have the largest",
        ));
    }

    let part = Part::of(&request.kind, request.namespace.as_deref(), request.name.as_deref());
    let mut items = Vec::new();
    loop {
        // Where everything in the range is wanted, one read fills the page and counts what is behind it.
        let wanted = if part.is_exact && request.selector.is_none() {
            limit
        } else {
            SCAN_ENTRIES_MAX
        };
        let query = RangeQuery {
            revision: Some(revision),
            limit: wanted as u64,
            after: after.clone(),
            ..RangeQuery::of(part.range.clone())
        };
        let read = view.range(&query).map_err(unreadable)?;
        for (index, entry) in read.entries.iter().enumerate() {
            if let Some(got) = part.select(entry, request)? {
                items.push(got);
            }
            if items.len() == limit {
                let is_last = index + 1 == read.entries.len() && !read.more;
                let continue_token = (!is_last).then(|| {
                    Token {
                        revision,
                        after: entry.key.clone(),
                    }
                    .render(&fingerprint)
                });
                let remaining =
                    (part.is_exact && request.selector.is_none()).then(|| read.count - read.entries.len() as u64);
                return Ok(Listing {
                    revision,
                    items,
                    continue_token,
                    remaining,
                });
            }
        }
        if !read.more {
            return Ok(Listing {
                revision,
                items,
                continue_token: None,
                remaining: Some(0),
            });
        }
        after = read.entries.last().map(|entry| entry.key.clone());
        give_way().await;
    }
}

/// The part of the keyspace that a list or a watch is about: a range, and whether all of it is meant.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) range: KeyRange,
    /// Whether every key in the range is meant (but for labels).
    pub(super) is_exact: bool,
    kind: KindFilter,
    namespace: Option<String>,
    name: Option<String>,
}

impl Part {
    pub(super) fn of(kind: &KindFilter, namespace: Option<&str>, name: Option<&str>) -> Self {
        let (range, is_exact) = match (&kind.group, &kind.kind, namespace, name) {
            (Some(group), Some(kind), Some(namespace), Some(name)) => {
                let reference = ResourceRef {
                    group: group.clone(),
                    kind: kind.clone(),
                    namespace: namespace.to_owned(),
                    name: name.to_owned(),
                };
                // A name that no resource can have has no key; the filter below then finds nothing.
                match reference.check() {
                    Ok(()) => (KeyRange::One(key(&reference)), true),
                    Err(_) => (KeyRange::Prefix(key_prefix(group, kind, Some(namespace))), false),
                }
            }
            (Some(group), Some(kind), namespace, name) => {
                (KeyRange::Prefix(key_prefix(group, kind, namespace)), name.is_none())
            }
            (None, None, None, None) => (KeyRange::Prefix(Bytes::from_static(RESOURCE_PREFIX)), true),
            _ => (KeyRange::Prefix(Bytes::from_static(RESOURCE_PREFIX)), false),
        };
        Self {
            range,
            is_exact,
            kind: kind.clone(),
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
        }
    }

    /// The reference behind a key, if it is one that is meant.
    pub(super) fn reference(&self, key: &[u8]) -> Option<ResourceRef> {
        let reference = parse_key(key)?;
        let meant = self.is_exact
            || (self.kind.matches(&reference)
                && self
                    .namespace
                    .as_ref()
                    .is_none_or(|namespace| *namespace == reference.namespace)
                && self.name.as_ref().is_none_or(|name| *name == reference.name));
        meant.then_some(reference)
    }

    fn select(&self, entry: &Entry, request: &ListRequest) -> Result<Option<Got>, StoreError> {
        let Some(reference) = self.reference(&entry.key) else {
            return Ok(None);
        };
        let got = got(reference, &entry.version)?;
        let selected = request
            .selector
            .as_ref()
            .is_none_or(|selector| selector.matches(&got.resource));
        Ok(selected.then_some(got))
    }
}

/// Where a page ended.
struct Token {
    revision: Revision,
    after: Bytes,
}

/// The format of tokens.
const TOKEN_VERSION: &str = "1";

impl Token {
    /// `1.REVISION.FINGERPRINT.KEY`, the key in hex and without what every key begins with.
    fn render(&self, fingerprint: &str) -> String {
        let key = self.after.strip_prefix(RESOURCE_PREFIX).unwrap_or(&self.after);
        let mut text = format!("{TOKEN_VERSION}.{}.{fingerprint}.", self.revision);
        for byte in key {
            write!(text, "{byte:02x}").expect("a string takes whatever is written to it");
        }
        text
    }

    fn parse(text: &str, fingerprint: &str) -> Result<Self, StoreError> {
        let invalid = |what: &str| StoreError::invalid(format_args!("the continue token is {what}"));
        if text.len() > CONTINUE_TOKEN_CHARS_MAX {
            return Err(invalid("longer than one can be"));
        }
        let mut parts = text.splitn(4, '.');
        let mut part = || parts.next().ok_or_else(|| invalid("not one"));
        if part()? != TOKEN_VERSION {
            return Err(invalid("of another version"));
        }
        let revision = part()?.parse().map_err(|_| invalid("not one"))?;
        if part()? != fingerprint {
            return Err(invalid("of a list with other filters"));
        }
        let digits = part()?.as_bytes();
        if digits.len() % 2 != 0 {
            return Err(invalid("cut short"));
        }
        let mut after = RESOURCE_PREFIX.to_vec();
        for pair in digits.chunks_exact(2) {
            let pair = std::str::from_utf8(pair)
                .ok()
                .filter(|pair| pair.bytes().all(|digit| digit.is_ascii_hexdigit()));
            let byte = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok());
            after.push(byte.ok_or_else(|| invalid("not one"))?);
        }
        Ok(Self {
            revision,
            after: after.into(),
        })
    }
}

/// Tells a list from one with other filters; the limit and the way of reading may change from page to page.
fn fingerprint(request: &ListRequest) -> String {
    let filters = format!(
        "{:?}",
        (&request.kind, &request.namespace, &request.name, &request.selector)
    );
    blake3::hash(filters.as_bytes()).to_hex()[..16].to_owned()
}
