//! Connections of clients that name a server as HTTP/2 forbids.
//!
//! etcd's own clients put into the field `:authority` what they were given as an endpoint: 3.4 a whole URL where it asks
//! one endpoint, 3.5.0 everywhere `#initially=[…]` (etcd#13192). gRPC in Go does not mind; hyper resets such a stream
//! before anything of ours sees it. So what a client sends is looked at before hyper has it, up to the first request, and
//! no further where its authority is a right one. A wrong one is replaced by another text of the same length: as long as
//! that is the same, so are both sides' tables of header fields (RFC 7541 §4.1), which later requests refer to. Rejected: a
//! hyper of one's own that minds less.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::http::uri::Authority;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What a connection in HTTP/2 begins with (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The bytes before the payload of a frame (RFC 9113 §4.1).
const FRAME_HEAD: usize = 9;
/// The largest payload that is taken where nothing else was agreed on (RFC 9113 §4.2).
const FRAME_BYTES_MAX: usize = 16_384;
/// How much is read at a time.
const CHUNK: usize = 8_192;

/// Frames of this type begin a request (RFC 9113 §6.2), and its flags.
const HEADERS: u8 = 1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// The place of `:authority` in the static table (RFC 7541, appendix A).
const AUTHORITY: u64 = 1;

/// A connection, whose reads are as HTTP/2 has them.
pub struct Lenient<I> {
    io: I,
    look: Look,
    /// It has named a server wrongly, and may do so again.
    wrong: bool,
    /// What came and was not looked at yet: a part of a frame.
    taken: Vec<u8>,
    /// What was, and is to be read.
    out: Vec<u8>,
    read: usize,
}

/// What is looked at.
#[derive(Clone, Copy, PartialEq)]
enum Look {
    /// Whether it is HTTP/2.
    Preface,
    /// The frames; so many bytes are left of one that does not matter.
    Frames(usize),
    /// Nothing more.
    Through,
}

impl<I> Lenient<I> {
    /// A connection at its beginning.
    pub fn new(io: I) -> Self {
        Self {
            io,
            look: Look::Preface,
            wrong: false,
            taken: Vec::new(),
            out: Vec::new(),
            read: 0,
        }
    }

    /// Moves what can be judged to what is to be read.
    fn pass(&mut self) {
        let mut at = 0;
        loop {
            let rest = &self.taken[at..];
            let moved = match self.look {
                Look::Through => rest.len(),
                Look::Preface => {
                    let same = rest.iter().zip(PREFACE).all(|(one, other)| one == other);
                    if !same {
                        self.look = Look::Through;
                    } else if rest.len() >= PREFACE.len() {
                        self.look = Look::Frames(PREFACE.len());
                    } else {
                        break;
                    }
                    continue;
                }
                Look::Frames(left) if left > 0 => {
                    let moved = left.min(rest.len());
                    self.look = Look::Frames(left - moved);
                    moved
                }
                Look::Frames(_) => {
                    let Some(head) = rest.first_chunk::<FRAME_HEAD>() else {
                        break;
                    };
                    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
                    if head[3] != HEADERS {
                        self.look = Look::Frames(FRAME_HEAD + length);
                        continue;
                    }
                    if head[4] & END_HEADERS == 0 || length > FRAME_BYTES_MAX {
                        self.look = Look::Through;
                        continue;
                    }
                    let Some(payload) = rest.get(FRAME_HEAD..FRAME_HEAD + length) else {
                        break;
                    };
                    if let Some(replaced) = replaced(head, payload) {
                        self.out.extend_from_slice(&replaced);
                        at += FRAME_HEAD + length;
                        self.wrong = true;
                    } else if self.wrong {
                        self.look = Look::Frames(FRAME_HEAD + length);
                    } else {
                        self.look = Look::Through;
                    }
                    continue;
                }
            };
            self.out.extend_from_slice(&rest[..moved]);
            at += moved;
            if at == self.taken.len() {
                break;
            }
        }
        self.taken.drain(..at);
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Lenient<I> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.read < this.out.len() {
                let part = &this.out[this.read..];
                let count = part.len().min(into.remaining());
                into.put_slice(&part[..count]);
                this.read += count;
                if this.read == this.out.len() {
                    (this.out, this.read) = (Vec::new(), 0);
                }
                return Poll::Ready(Ok(()));
            }
            if this.look == Look::Through {
                return Pin::new(&mut this.io).poll_read(context, into);
            }
            let mut chunk = [0; CHUNK];
            let mut buffer = ReadBuf::new(&mut chunk);
            ready!(Pin::new(&mut this.io).poll_read(context, &mut buffer))?;
            if buffer.filled().is_empty() {
                // It ends in the middle of a frame, which is for whoever reads to say.
                this.look = Look::Through;
            }
            this.taken.extend_from_slice(buffer.filled());
            this.pass();
            if this.look == Look::Through && this.out.is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Lenient<I> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

/// The frame with another authority; none where there is nothing to replace, or where it cannot be told.
fn replaced(head: &[u8; FRAME_HEAD], payload: &[u8]) -> Option<Vec<u8>> {
    let (mut begin, mut end) = (0, payload.len());
    if head[4] & PADDED != 0 {
        end = end.checked_sub(usize::from(*payload.first()?))?;
        begin += 1;
    }
    if head[4] & PRIORITY != 0 {
        begin += 5;
    }
    let fields = payload.get(begin..end)?;
    let (value, length) = wrong_authority(fields)?;
    let mut named = Vec::new();
    put_integer(&mut named, 7, length as u64);
    named.resize(named.len() + length, b'x');
    let before = begin + value.start;
    let after = begin + value.end;
    let long = payload.len() - value.len() + named.len();
    if long > FRAME_BYTES_MAX {
        return None;
    }
    let mut frame = Vec::with_capacity(FRAME_HEAD + long);
    frame.extend_from_slice(&(long as u32).to_be_bytes()[1..]);
    frame.extend_from_slice(&head[3..]);
    frame.extend_from_slice(&payload[..before]);
    frame.extend_from_slice(&named);
    frame.extend_from_slice(&payload[after..]);
    Some(frame)
}

/// Where in these header fields the text of an authority is that is none, and how long it is once it is decoded.
fn wrong_authority(fields: &[u8]) -> Option<(std::ops::Range<usize>, usize)> {
    let mut at = 0;
    while at < fields.len() {
        // RFC 7541 §6: what follows is told by the first bits.
        let first = fields[at];
        let (bits, literal) = match first {
            0x80.. => (7, false),
            0x40.. => (6, true),
            0x20.. => (5, false),
            _ => (4, true),
        };
        let name = integer(fields, &mut at, bits)?;
        if !literal {
            continue;
        }
        if name == 0 {
            text(fields, &mut at)?;
        }
        let begin = at;
        let value = text(fields, &mut at)?;
        if name == AUTHORITY {
            let value = value?;
            let right = value.is_empty() || Authority::try_from(&value[..]).is_ok();
            return (!right).then_some((begin..at, value.len()));
        }
    }
    None
}

/// RFC 7541 §5.1.
fn integer(bytes: &[u8], at: &mut usize, bits: u32) -> Option<u64> {
    let most = (1 << bits) - 1;
    let mut value = u64::from(*bytes.get(*at)?) & most;
    *at += 1;
    if value < most {
        return Some(value);
    }
    for shift in (0..28).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value += u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn put_integer(into: &mut Vec<u8>, bits: u32, mut value: u64) {
    let most = (1 << bits) - 1;
    if value < most {
        into.push(value as u8);
        return;
    }
    into.push(most as u8);
    value -= most;
    while value >= 0x80 {
        into.push(value as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

/// RFC 7541 §5.2: a text; within, none where its code has what no authority has.
fn text(bytes: &[u8], at: &mut usize) -> Option<Option<Vec<u8>>> {
    let coded = *bytes.get(*at)? & 0x80 != 0;
    let length = usize::try_from(integer(bytes, at, 7)?).ok()?;
    let raw = bytes.get(*at..at.checked_add(length)?)?;
    *at += length;
    Some(if coded { decoded(raw) } else { Some(raw.to_vec()) })
}

/// The lengths of the Huffman codes of the bytes from a space to `~`, in bits (RFC 7541, appendix B); 0 for one whose code
/// is longer than that of any other here. Codes of one length follow each other in the order of their bytes, and those of
/// the next length follow them.
const CODE_BITS: [u8; 95] = [
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6,
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 0, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6,
    6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13,
];
/// The byte 0 has a code of this length, and stands before all others of it.
const NUL_BITS: u8 = 13;
const CODE_BITS_MAX: u8 = 15;

/// The bytes that a code of such a length stands for, in order.
fn bytes_of(bits: u8) -> impl Iterator<Item = u8> {
    let nul = (bits == NUL_BITS).then_some(0);
    let printed = (b' '..).zip(CODE_BITS).filter(move |(_, own)| *own == bits);
    nul.into_iter().chain(printed.map(|(byte, _)| byte))
}

fn decoded(coded: &[u8]) -> Option<Vec<u8>> {
    let bits = coded
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| u32::from(byte >> bit & 1)));
    let mut value = Vec::new();
    // A canonical code: the first code of each length, and how far this one is behind it.
    let (mut code, mut first, mut length) = (0, 0, 0);
    for bit in bits {
        (code, first, length) = (code << 1 | bit, first << 1, length + 1);
        if length > CODE_BITS_MAX {
            return None;
        }
        let count = bytes_of(length).count() as u32;
        if code - first < count {
            value.push(bytes_of(length).nth((code - first) as usize)?);
            (code, first, length) = (0, 0, 0);
        } else {
            first += count;
        }
    }
    // What is left is the beginning of the code that ends a text: ones, less than a byte of them.
    let padded = length < 8 && code == (1 << length) - 1;
    padded.then_some(value)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    fn literal(value: &[u8]) -> Vec<u8> {
        [&[0x40 | AUTHORITY as u8, value.len() as u8], value].concat()
    }

    async fn read(sent: &[u8], piece: usize) -> Vec<u8> {
        let (mut client, server) = tokio::io::duplex(1 << 16);
        let sent = sent.to_vec();
        let sending = tokio::spawn(async move {
            use tokio::io::AsyncWriteExt as _;
            for piece in sent.chunks(piece) {
                client.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        let mut got = Vec::new();
        Lenient::new(server).read_to_end(&mut got).await.unwrap();
        sending.await.unwrap();
        got
    }

    #[test]
    fn huffman_codes_are_those_of_the_rfc() {
        // RFC 7541, appendix C.4.1 and C.6.1.
        let coded = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        assert_eq!(decoded(&coded).unwrap(), b"www.example.com");
        let coded = [
            0x9d, 0x29, 0xad, 0x17, 0x18, 0x63, 0xc7, 0x8f, 0x0b, 0x97, 0xc8, 0xe9, 0xae, 0x82, 0xae, 0x43, 0xd3,
        ];
        assert_eq!(decoded(&coded).unwrap(), b"https://www.example.com");
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(decoded(&[0xf8, 0x00]), None);
    }

    #[tokio::test]
    async fn a_url_in_the_place_of_an_authority_is_replaced_by_what_is_as_long() {
        let url = b"http://127.0.0.1:2379";
        let after = [0x82, 0x87];
        let sent = |value: &[u8]| {
            let fields = [&[0x83][..], &literal(value), &after].concat();
            [
                PREFACE,
                &frame(4, 0, &[]),
                &frame(HEADERS, END_HEADERS, &fields),
                &frame(0, 1, b"data"),
            ]
            .concat()
        };
        for piece in [1, 7, 1_000] {
            assert_eq!(read(&sent(url), piece).await, sent(&[b'x'; 21]), "in pieces of {piece}");
            assert_eq!(read(&sent(b"127.0.0.1:2379"), piece).await, sent(b"127.0.0.1:2379"));
        }
        // In a later request as well, with padding and a priority, and in Huffman's code.
        let coded = [
            0x9d, 0x29, 0xad, 0x17, 0x18, 0x63, 0xc7, 0x8f, 0x0b, 0x97, 0xc8, 0xe9, 0xae, 0x82, 0xae, 0x43, 0xd3,
        ];
        let padded = |text: &[u8]| {
            let fields = [&[2, 0, 0, 0, 0, 7][..], &[0x41], text, &after, &[0, 0]].concat();
            frame(HEADERS, END_HEADERS | PADDED | PRIORITY, &fields)
        };
        let again = [sent(url), padded(&[&[0x80 | 17][..], &coded].concat())].concat();
        let wanted = [sent(&[b'x'; 21]), padded(&[&[23][..], &[b'x'; 23]].concat())].concat();
        assert_eq!(read(&again, 5).await, wanted);
    }

    #[tokio::test]
    async fn what_is_not_to_be_told_is_left_as_it_is() {
        let cut = [PREFACE, &frame(HEADERS, END_HEADERS, &literal(b"http://a"))[..12]].concat();
        let in_parts = [PREFACE, &frame(HEADERS, 0, &literal(b"http://a"))].concat();
        let garbage = [PREFACE, &frame(HEADERS, END_HEADERS, &[0x41, 0x7f, 0xff])].concat();
        for sent in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            b"PRI * HTTP/1",
            b"P",
            &cut,
            &in_parts,
            &garbage,
        ] {
            assert_eq!(read(sent, 3).await, sent);
        }
    }
}
