//! The native format: a CBOR envelope (RFC 8949).
//!
//! ```text
//! d9d9f7                 tag 55799, self-described CBOR: no text format begins with these bytes
//!   83                   a list of three
//!     67 "revoada"
//!     01                 the version of the envelope
//!     CONTENT
//! ```
//! Content is deterministic (RFC 8949 §4.2): definite lengths, shortest heads, keys in the order of their encoded bytes.
//! Integers are CBOR integers, or bignums (tags 2 and 3) beyond 64 bits; any other spelling of a number is a decimal
//! fraction (tag 4: exponent, mantissa), so that `1.0` stays `1.0` and nothing is rounded. Floats are read if they are
//! finite, and never written. Envelopes in one input follow each other directly (a CBOR sequence, RFC 8742).
//!
//! Reading is more lenient than writing (indefinite lengths, any order of keys), because what was applied in this format
//! comes back byte for byte anyway. Rejected: serde's data model over CBOR, which has neither bignums nor decimals.

use minicbor::data::{Tag, Type};
use minicbor::decode::{self, Decoder};
use minicbor::encode::{self, Encoder};
use serde_json::{Map, Number, Value};

use super::super::number::{self, Decimal};
use super::super::refusal::{Fault, Refusal};
use super::super::{ResourceFormat, content};
use crate::limits;

/// What every envelope begins with.
pub(crate) const MAGIC: &[u8] = b"\xd9\xd9\xf7\x83\x67revoada";
const VERSION: u64 = 1;

const TAG_POSITIVE_BIGNUM: u64 = 2;
const TAG_NEGATIVE_BIGNUM: u64 = 3;
const TAG_DECIMAL: u64 = 4;

/// Reads one envelope from the beginning of `bytes`; also gives the offset behind it.
pub(crate) fn read_prefix(bytes: &[u8]) -> Result<(Value, usize), Fault> {
    if !bytes.starts_with(MAGIC) {
        let cut_short = MAGIC.starts_with(bytes);
        return Err(if cut_short {
            Refusal::Truncated.into()
        } else {
            syntax("the mark of an envelope is missing").at(0)
        });
    }
    let mut decoder = Decoder::new(&bytes[MAGIC.len()..]);
    let moved = |fault: Fault| fault.moved_by(MAGIC.len());
    let version = decoder.u64().map_err(|error| moved(refused(&error, 0)))?;
    if version != VERSION {
        return Err(Refusal::NewerEnvelope { version }.into());
    }
    let value = value(&mut decoder, 0).map_err(moved)?;
    Ok((value, MAGIC.len() + decoder.position()))
}

/// Reads the one envelope that `bytes` are.
pub(crate) fn read(bytes: &[u8]) -> Result<Value, Fault> {
    let (value, end) = read_prefix(bytes)?;
    if end < bytes.len() {
        return Err(Refusal::TrailingBytes.at(end));
    }
    Ok(value)
}

/// Writes `content` in its one deterministic encoding.
pub(crate) fn write(content: &Value) -> Vec<u8> {
    let mut encoder = Encoder::new(MAGIC.to_vec());
    encoder
        .u64(VERSION)
        .and_then(|encoder| write_value(encoder, content))
        // Writing to memory has no errors of its own, and minicbor none for the calls made here.
        .unwrap_or_else(|error| unreachable!("an envelope in memory could not be written: {error}"));
    encoder.into_writer()
}

fn syntax(detail: impl Into<String>) -> Refusal {
    Refusal::Syntax {
        format: ResourceFormat::Native,
        detail: detail.into(),
    }
}

fn refused(error: &decode::Error, offset: usize) -> Fault {
    if error.is_end_of_input() {
        Refusal::Truncated.into()
    } else {
        syntax(error.to_string()).at(offset)
    }
}

fn value(decoder: &mut Decoder<'_>, depth: usize) -> Result<Value, Fault> {
    let at = decoder.position();
    let failed = |error: decode::Error| refused(&error, at);
    let unrepresentable = |what: &str| {
        Refusal::Unrepresentable {
            what: what.to_owned(),
            remedy: "use what JSON has, too",
        }
        .at(at)
    };
    Ok(match decoder.datatype().map_err(failed)? {
        Type::Null => {
            decoder.null().map_err(failed)?;
            Value::Null
        }
        Type::Bool => Value::Bool(decoder.bool().map_err(failed)?),
        Type::U8 | Type::U16 | Type::U32 | Type::U64 | Type::I8 | Type::I16 | Type::I32 | Type::I64 | Type::Int => {
            let integer = i128::from(decoder.int().map_err(failed)?);
            spelled(&integer.to_string(), at)?
        }
        Type::F16 => float(half(decoder)?, at)?,
        Type::F32 => float(f64::from(decoder.f32().map_err(failed)?), at)?,
        Type::F64 => float(decoder.f64().map_err(failed)?, at)?,
        Type::String | Type::StringIndef => Value::String(text(decoder)?),
        Type::Array | Type::ArrayIndef => list(decoder, depth + 1)?,
        Type::Map | Type::MapIndef => object(decoder, depth + 1)?,
        Type::Tag => match decoder.tag().map_err(failed)?.as_u64() {
            tag @ (TAG_POSITIVE_BIGNUM | TAG_NEGATIVE_BIGNUM) => spelled(&bignum(decoder, tag)?.spelling(), at)?,
            TAG_DECIMAL => decimal(decoder, at)?,
            tag => return Err(unrepresentable(&format!("the CBOR tag {tag}"))),
        },
        Type::Bytes | Type::BytesIndef => return Err(unrepresentable("a CBOR byte string")),
        Type::Undefined => return Err(unrepresentable("CBOR's undefined")),
        Type::Simple | Type::Break | Type::Unknown(_) => return Err(syntax("a value is expected").at(at)),
    })
}

fn spelled(text: &str, at: usize) -> Result<Value, Fault> {
    number::from_spelling(text)
        .map(Value::Number)
        .map_err(|refusal| refusal.at(at))
}

fn float(value: f64, at: usize) -> Result<Value, Fault> {
    Number::from_f64(value).map(Value::Number).ok_or_else(|| {
        let what = "a number that is not finite".to_owned();
        Refusal::Unrepresentable {
            what,
            remedy: "write it as a string",
        }
        .at(at)
    })
}

/// A half-precision float (RFC 8949 §3.3), which minicbor reads only with a further dependency.
fn half(decoder: &mut Decoder<'_>) -> Result<f64, Fault> {
    let at = decoder.position();
    let Some(&[_, high, low]) = decoder.input().get(at..at + 3) else {
        return Err(Refusal::Truncated.into());
    };
    decoder.set_position(at + 3);
    let bits = u16::from_be_bytes([high, low]);
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1F), f64::from(bits & 0x3FF));
    let magnitude = match exponent {
        0 => fraction * 2_f64.powi(-24),
        31 => f64::INFINITY,
        _ => (1024.0 + fraction) * 2_f64.powi(exponent - 25),
    };
    Ok(if bits >> 15 == 1 { -magnitude } else { magnitude })
}

fn text(decoder: &mut Decoder<'_>) -> Result<String, Fault> {
    let at = decoder.position();
    let mut text = String::new();
    for part in decoder.str_iter().map_err(|error| refused(&error, at))? {
        text.push_str(part.map_err(|error| refused(&error, at))?);
    }
    Ok(text)
}

fn list(decoder: &mut Decoder<'_>, depth: usize) -> Result<Value, Fault> {
    let at = decoder.position();
    let length = decoder.array().map_err(|error| refused(&error, at))?;
    check_depth(depth, at)?;
    let mut items = Vec::new();
    while more(decoder, length, items.len())? {
        items.push(value(decoder, depth)?);
    }
    Ok(Value::Array(items))
}

fn object(decoder: &mut Decoder<'_>, depth: usize) -> Result<Value, Fault> {
    let at = decoder.position();
    let length = decoder.map().map_err(|error| refused(&error, at))?;
    check_depth(depth, at)?;
    let mut object = Map::new();
    while more(decoder, length, object.len())? {
        let key_at = decoder.position();
        let key = text(decoder)?;
        let value = value(decoder, depth)?;
        content::insert(&mut object, key, value).map_err(|refusal| refusal.at(key_at))?;
    }
    Ok(Value::Object(object))
}

fn check_depth(depth: usize, at: usize) -> Result<(), Fault> {
    if depth > limits::DOCUMENT_DEPTH_MAX {
        Err(Refusal::TooDeep.at(at))
    } else {
        Ok(())
    }
}

/// Whether a list or object of `length` (none: until a break) has another entry after `read` of them.
///
/// A length is never trusted with memory: what it promises has to be there to be read.
fn more(decoder: &mut Decoder<'_>, length: Option<u64>, read: usize) -> Result<bool, Fault> {
    let at = decoder.position();
    match length {
        Some(length) => Ok((read as u64) < length),
        None if decoder.datatype().map_err(|error| refused(&error, at))? == Type::Break => {
            decoder.set_position(at + 1);
            Ok(false)
        }
        None => Ok(true),
    }
}

/// The integer of a bignum whose tag was read.
fn bignum(decoder: &mut Decoder<'_>, tag: u64) -> Result<Decimal, Fault> {
    let at = decoder.position();
    let bytes = decoder.bytes().map_err(|error| refused(&error, at))?;
    if bytes.len() > limits::NUMBER_DIGITS_MAX / 2 {
        return Err(Refusal::NumberTooLong.at(at));
    }
    let negative = tag == TAG_NEGATIVE_BIGNUM;
    // A negative bignum is -1 - n.
    let bytes = if negative { incremented(bytes) } else { bytes.to_vec() };
    Ok(Decimal {
        negative,
        digits: number::bytes_to_digits(&bytes),
        exponent: 0,
    })
}

/// A decimal fraction whose tag was read.
fn decimal(decoder: &mut Decoder<'_>, at: usize) -> Result<Value, Fault> {
    let failed = |error: decode::Error| refused(&error, at);
    if decoder.array().map_err(failed)? != Some(2) {
        return Err(syntax("a decimal fraction has an exponent and a mantissa").at(at));
    }
    let exponent = i64::from(decoder.i32().map_err(failed)?);
    let mantissa = match decoder.datatype().map_err(failed)? {
        Type::Tag => match decoder.tag().map_err(failed)?.as_u64() {
            tag @ (TAG_POSITIVE_BIGNUM | TAG_NEGATIVE_BIGNUM) => bignum(decoder, tag)?,
            _ => return Err(syntax("the mantissa of a decimal fraction is an integer").at(at)),
        },
        _ => Decimal::spelled(&i128::from(decoder.int().map_err(failed)?).to_string()),
    };
    spelled(&Decimal { exponent, ..mantissa }.spelling(), at)
}

fn incremented(bytes: &[u8]) -> Vec<u8> {
    let mut sum = vec![0; bytes.len() + 1];
    sum[1..].copy_from_slice(bytes);
    for byte in sum.iter_mut().rev() {
        let (incremented, overflowed) = byte.overflowing_add(1);
        *byte = incremented;
        if !overflowed {
            break;
        }
    }
    sum
}

/// The bytes of `digits - 1`; the digits are not those of zero.
fn decremented(digits: &str) -> Vec<u8> {
    let mut bytes = number::digits_to_bytes(digits, 10);
    for byte in bytes.iter_mut().rev() {
        let (decremented, borrowed) = byte.overflowing_sub(1);
        *byte = decremented;
        if !borrowed {
            break;
        }
    }
    let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
    bytes[zeros..].to_vec()
}

type Memory = Encoder<Vec<u8>>;
type Written<'a> = Result<&'a mut Memory, encode::Error<std::convert::Infallible>>;

fn write_value<'a>(encoder: &'a mut Memory, value: &Value) -> Written<'a> {
    match value {
        Value::Null => encoder.null(),
        Value::Bool(truth) => encoder.bool(*truth),
        Value::Number(number) => write_number(encoder, number.as_str()),
        Value::String(text) => encoder.str(text),
        Value::Array(items) => {
            encoder.array(items.len() as u64)?;
            for item in items {
                write_value(encoder, item)?;
            }
            Ok(encoder)
        }
        Value::Object(object) => {
            let mut entries: Vec<(&String, &Value)> = object.iter().collect();
            // The order of encoded keys: the head has the length, so shorter ones come first.
            entries.sort_unstable_by_key(|(key, _)| (key.len(), key.as_str()));
            encoder.map(entries.len() as u64)?;
            for (key, value) in entries {
                encoder.str(key)?;
                write_value(encoder, value)?;
            }
            Ok(encoder)
        }
    }
}

fn write_number<'a>(encoder: &'a mut Memory, spelling: &str) -> Written<'a> {
    let decimal = Decimal::spelled(spelling);
    if decimal.exponent == 0 {
        return write_integer(encoder, &decimal);
    }
    encoder.tag(Tag::new(TAG_DECIMAL))?.array(2)?.i64(decimal.exponent)?;
    write_integer(encoder, &decimal)
}

/// Writes the sign and the digits, whatever the exponent; `-0` is `0`.
fn write_integer<'a>(encoder: &'a mut Memory, decimal: &Decimal) -> Written<'a> {
    let negative = decimal.negative && !decimal.digits.is_empty();
    let bytes = if negative {
        decremented(&decimal.digits)
    } else {
        number::digits_to_bytes(&decimal.digits, 10)
    };
    if bytes.len() > 8 {
        let tag = if negative {
            TAG_NEGATIVE_BIGNUM
        } else {
            TAG_POSITIVE_BIGNUM
        };
        return encoder.tag(Tag::new(tag))?.bytes(&bytes);
    }
    let magnitude = bytes.iter().fold(0_u64, |value, &byte| value << 8 | u64::from(byte));
    match (negative, i64::try_from(magnitude)) {
        (false, _) => encoder.u64(magnitude),
        (true, Ok(magnitude)) => encoder.i64(-1 - magnitude),
        // Between -2^64 and -2^63 - 1: CBOR's own range, wider than i64.
        (true, Err(_)) => {
            let wide = minicbor::data::Int::try_from(-1 - i128::from(magnitude));
            encoder.int(wide.unwrap_or_else(|error| unreachable!("-2^64..0 is the range of a CBOR integer: {error}")))
        }
    }
}
