//! Reading a bbolt database: the file that etcd keeps its state in.
//!
//! Source: etcd-io/bbolt, `internal/common/{page,meta,bucket,inode}.go` (1.4): the layout of pages, and nothing of how
//! they are written. All numbers are in the byte order of the machine that wrote them, which is little-endian wherever
//! etcd is released for.
//!
//! ```text
//! page:    id u64 | kind u16 | count u16 | overflow u32 | elements | keys and values; 1 + overflow pages long
//! meta:    magic u32 | version u32 | page size u32 | flags u32 | root: bucket | freelist u64 | pages u64 | txid u64 |
//!          FNV-1a of what is before (64 bits)
//! branch:  { position u32 | key length u32 | page u64 }*      positions count from the element itself
//! leaf:    { flags u32 | position u32 | key length u32 | value length u32 }*
//! bucket:  root page u64 | sequence u64; where the root is 0 the page itself is behind it
//! ```
//!
//! The file is another's and may be cut or changed. Every length is compared with what is there before it is used, no
//! page is walked more often than there are pages, and what does not fit is an error with its place. Rejected: the crate
//! `bbolt-rs`, a port of the whole database that maps the file and asserts where bbolt asserts: a changed file ends the
//! process.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;
const PAGE_HEADER_BYTES: usize = 16;
const META_BYTES: usize = 64;
const BUCKET_BYTES: usize = 16;
const BRANCH: u16 = 0x01;
const LEAF: u16 = 0x02;
const BUCKET_FLAG: u32 = 0x01;
/// The sizes that a page may have (bbolt: the system's page size, and what `Options.PageSize` says).
const PAGE_SIZES: std::ops::RangeInclusive<u32> = 9..=16;
/// The largest page with what overflows from it, in bytes: two values of the largest size that etcd takes fit in.
const PAGE_BYTES_MAX: u64 = 1 << 30;
/// How deep a tree of pages may be: with two keys a page, deeper than any file.
const DEPTH_MAX: usize = 64;

/// Why a file is no bbolt database that can be read. Positions are bytes from the start of the file.
#[derive(Debug, thiserror::Error)]
pub enum BoltError {
    /// It begins as none does.
    #[error("this is no database of etcd's: neither of its first two pages is one that bbolt wrote")]
    NotBolt,
    /// It ends before something that should be there.
    #[error("the database is cut short: {what} at byte {at} should end at byte {end}, and there are {length}")]
    CutShort {
        /// What.
        what: &'static str,
        /// Where it begins.
        at: u64,
        /// Where it should end.
        end: u64,
        /// How long the file is.
        length: u64,
    },
    /// It contradicts itself.
    #[error("the database is damaged at byte {at}: {what}")]
    Malformed {
        /// What cannot be.
        what: &'static str,
        /// Where.
        at: u64,
    },
    /// It could not be read.
    #[error("reading the database failed at byte {at}")]
    Read {
        /// Where.
        at: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A database whose newest meta page was found.
#[derive(Debug)]
pub struct Bolt<'a> {
    file: &'a File,
    /// How many bytes of the file are the database.
    length: u64,
    page_bytes: u64,
    /// How many pages there are.
    pages: u64,
    root: Root,
}

/// Where the tree of a bucket begins.
#[derive(Debug, Clone)]
pub struct Root {
    page: u64,
    /// The page itself, where the bucket is so small that it has none of its own, and where in the file that is.
    inline: Option<(Vec<u8>, u64)>,
}

/// A key and its value, and where in the file the value is.
#[derive(Debug, Clone, Copy)]
pub struct Pair<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The value.
    pub value: &'a [u8],
    /// Where the value begins, in bytes from the start of the file.
    pub at: u64,
}

impl<'a> Bolt<'a> {
    /// Finds the newest whole meta page of the first `length` bytes of a file.
    ///
    /// # Errors
    /// Neither meta page is whole, or the file cannot be read.
    pub fn open(file: &'a File, length: u64) -> Result<Self, BoltError> {
        let mut bolt = Self {
            file,
            length,
            page_bytes: 0,
            pages: 0,
            root: Root { page: 0, inline: None },
        };
        let mut newest = None;
        // The first is at the start; the second is a page behind it, and how long a page is the first may not tell.
        let places = std::iter::once(0).chain(PAGE_SIZES.map(|bits| 1 << bits));
        for at in places {
            let end = PAGE_HEADER_BYTES + META_BYTES;
            if at + end as u64 > length {
                break;
            }
            let page = bolt.read(at, end, "a meta page")?;
            let Some(meta) = meta(&page[PAGE_HEADER_BYTES..]) else {
                continue;
            };
            if at != 0 && at != meta.page_bytes {
                continue;
            }
            if newest.as_ref().is_none_or(|newest: &Meta| newest.txid < meta.txid) {
                newest = Some(meta);
            }
        }
        let newest = newest.ok_or(BoltError::NotBolt)?;
        bolt.page_bytes = newest.page_bytes;
        bolt.pages = newest.pages;
        bolt.root.page = newest.root;
        let end = newest.pages.checked_mul(newest.page_bytes);
        match end {
            Some(end) if end <= length => Ok(bolt),
            end => Err(BoltError::CutShort {
                what: "the last page",
                at: end.unwrap_or(u64::MAX).saturating_sub(newest.page_bytes),
                end: end.unwrap_or(u64::MAX),
                length,
            }),
        }
    }

    /// The bucket with a name; none where there is none.
    ///
    /// # Errors
    /// The database is damaged, or cannot be read.
    pub fn bucket(&self, name: &[u8]) -> Result<Option<Root>, BoltError> {
        let mut found = None;
        self.walk(&self.root, &mut |flags, pair: Pair| {
            if pair.key != name {
                return Ok(());
            }
            if flags & BUCKET_FLAG == 0 || pair.value.len() < BUCKET_BYTES {
                let what = "what has the name of a bucket is none";
                return Err(BoltError::Malformed { what, at: pair.at });
            }
            let page = u64_at(pair.value, 0);
            let behind = &pair.value[BUCKET_BYTES..];
            found = Some(Root {
                page,
                inline: (page == 0).then(|| (behind.to_vec(), pair.at + BUCKET_BYTES as u64)),
            });
            Ok(())
        })?;
        Ok(found)
    }

    /// Shows every pair of a bucket, in the order of its keys.
    ///
    /// # Errors
    /// What `visit` gives; or the database is damaged, or cannot be read.
    pub fn for_each<E: From<BoltError>>(
        &self,
        bucket: &Root,
        visit: &mut dyn FnMut(Pair) -> Result<(), E>,
    ) -> Result<(), E> {
        self.walk(bucket, &mut |flags, pair| match flags & BUCKET_FLAG {
            0 => visit(pair),
            _ => Ok(()),
        })
    }

    /// Reads a value again that [`Self::for_each`] has shown.
    ///
    /// # Errors
    /// The file cannot be read, or has become shorter.
    pub fn value(&self, at: u64, bytes: usize) -> Result<Vec<u8>, BoltError> {
        self.read(at, bytes, "a value")
    }

    fn walk<E: From<BoltError>>(
        &self,
        root: &Root,
        visit: &mut dyn FnMut(u32, Pair) -> Result<(), E>,
    ) -> Result<(), E> {
        if let Some((page, at)) = &root.inline {
            let page = Page::of(page, *at)?;
            return match page.kind {
                LEAF => page.leaves(visit),
                _ => Err(page
                    .malformed("a bucket within its parent's page that is no leaf")
                    .into()),
            };
        }
        let mut walked = 0;
        // What is still to be walked, the next last.
        let mut waiting = vec![(root.page, 1)];
        while let Some((id, depth)) = waiting.pop() {
            let at = id.saturating_mul(self.page_bytes);
            walked += 1;
            if depth > DEPTH_MAX || walked > self.pages {
                let what = "its pages are no tree";
                return Err(BoltError::Malformed { what, at }.into());
            }
            let bytes = self.page(id)?;
            let page = Page::of(&bytes, at)?;
            match page.kind {
                LEAF => page.leaves(visit)?,
                BRANCH => {
                    let below = waiting.len();
                    for element in 0..page.count {
                        waiting.push((page.child(element)?, depth + 1));
                    }
                    waiting[below..].reverse();
                }
                _ => return Err(page.malformed("a page that is neither branch nor leaf").into()),
            }
        }
        Ok(())
    }

    fn page(&self, id: u64) -> Result<Vec<u8>, BoltError> {
        let at = id.saturating_mul(self.page_bytes);
        let malformed = |what| BoltError::Malformed { what, at };
        if id < 2 || id >= self.pages {
            return Err(malformed("a page that is not there"));
        }
        let header = self.read(at, PAGE_HEADER_BYTES, "a page")?;
        if u64_at(&header, 0) != id {
            return Err(malformed("a page that says that it is another one"));
        }
        let bytes = (u64::from(u32_at(&header, 12)) + 1).saturating_mul(self.page_bytes);
        if bytes > PAGE_BYTES_MAX {
            return Err(malformed("a page that is too large"));
        }
        self.read(at, bytes as usize, "a page")
    }

    fn read(&self, at: u64, bytes: usize, what: &'static str) -> Result<Vec<u8>, BoltError> {
        let end = at.saturating_add(bytes as u64);
        if end > self.length {
            return Err(BoltError::CutShort {
                what,
                at,
                end,
                length: self.length,
            });
        }
        let mut buffer = vec![0; bytes];
        self.file
            .read_exact_at(&mut buffer, at)
            .map_err(|source| BoltError::Read { at, source })?;
        Ok(buffer)
    }
}

struct Meta {
    page_bytes: u64,
    root: u64,
    pages: u64,
    txid: u64,
}

/// A meta page's content; none where it is not whole.
fn meta(bytes: &[u8]) -> Option<Meta> {
    let page_bytes = u32_at(bytes, 8);
    let whole = u32_at(bytes, 0) == MAGIC
        && u32_at(bytes, 4) == VERSION
        && page_bytes.is_power_of_two()
        && PAGE_SIZES.contains(&page_bytes.ilog2())
        && u64_at(bytes, META_BYTES - 8) == fnv(&bytes[..META_BYTES - 8]);
    whole.then(|| Meta {
        page_bytes: page_bytes.into(),
        root: u64_at(bytes, 16),
        pages: u64_at(bytes, 40),
        txid: u64_at(bytes, 48),
    })
}

/// FNV-1a of 64 bits (draft-eastlake-fnv).
fn fnv(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// A page with its header.
struct Page<'a> {
    bytes: &'a [u8],
    /// Where in the file it is.
    at: u64,
    kind: u16,
    count: usize,
}

impl<'a> Page<'a> {
    fn of(bytes: &'a [u8], at: u64) -> Result<Self, BoltError> {
        let Some(header) = bytes.get(..PAGE_HEADER_BYTES) else {
            let what = "a page that is shorter than its header";
            return Err(BoltError::Malformed { what, at });
        };
        let page = Self {
            bytes,
            at,
            kind: u16::from_le_bytes([header[8], header[9]]),
            count: usize::from(u16::from_le_bytes([header[10], header[11]])),
        };
        // Elements of both kinds have the same size.
        if PAGE_HEADER_BYTES + page.count * ELEMENT_BYTES > bytes.len() {
            return Err(page.malformed("a page with more elements than it has room for"));
        }
        Ok(page)
    }

    fn malformed(&self, what: &'static str) -> BoltError {
        BoltError::Malformed { what, at: self.at }
    }

    /// Where an element is in the page.
    const fn place(element: usize) -> usize {
        PAGE_HEADER_BYTES + element * ELEMENT_BYTES
    }

    fn slice(&self, from: usize, length: usize) -> Result<&'a [u8], BoltError> {
        let end = from.checked_add(length);
        end.and_then(|end| self.bytes.get(from..end))
            .ok_or_else(|| self.malformed("a key or a value that reaches beyond its page"))
    }

    fn child(&self, element: usize) -> Result<u64, BoltError> {
        let place = Self::place(element);
        Ok(u64_at(self.slice(place, ELEMENT_BYTES)?, 8))
    }

    fn leaves<E: From<BoltError>>(&self, visit: &mut dyn FnMut(u32, Pair) -> Result<(), E>) -> Result<(), E> {
        for element in 0..self.count {
            let place = Self::place(element);
            let header = self.slice(place, ELEMENT_BYTES)?;
            let [flags, position, key, value] = [0, 4, 8, 12].map(|offset| u32_at(header, offset));
            let from = place.saturating_add(position as usize);
            let behind = from.saturating_add(key as usize);
            let pair = Pair {
                key: self.slice(from, key as usize)?,
                value: self.slice(behind, value as usize)?,
                at: self.at + behind as u64,
            };
            visit(flags, pair)?;
        }
        Ok(())
    }
}

const ELEMENT_BYTES: usize = 16;

/// The number at an offset that the caller has compared with the length.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

/// As [`u32_at`].
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}
