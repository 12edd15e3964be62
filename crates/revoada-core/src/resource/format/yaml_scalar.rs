//! What one YAML scalar means: the core schema of YAML 1.2 (§10.3), as `yaml.rs` decides where it leaves room.

use std::borrow::Cow;

use serde_json::Value;
use serde_saphyr::granit_parser::{ScalarStyle, Tag};

use super::super::content;
use super::super::number;
use super::super::refusal::Refusal;
use crate::limits;

/// The value of a scalar.
pub(crate) fn value(text: Cow<'_, str>, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, Refusal> {
    let Some(tag) = tag else {
        return if style == ScalarStyle::Plain {
            plain(text)
        } else {
            Ok(Value::String(text.into_owned()))
        };
    };
    // The non-specific tag `!` makes a scalar a string.
    if tag.parts() == ("", "!") || tag.is_yaml_core_schema_tag("str") {
        return Ok(Value::String(text.into_owned()));
    }
    let value = plain(text)?;
    let fits = match &value {
        Value::Null => tag.is_yaml_core_schema_tag("null"),
        Value::Bool(_) => tag.is_yaml_core_schema_tag("bool"),
        Value::Number(number) => {
            tag.is_yaml_core_schema_tag("float")
                || tag.is_yaml_core_schema_tag("int") && !number.as_str().contains(['.', 'e', 'E'])
        }
        Value::String(_) | Value::Array(_) | Value::Object(_) => false,
    };
    if fits {
        return Ok(value);
    }
    if tag.is_custom() {
        return Err(unrepresentable_tag(tag));
    }
    Err(Refusal::Unrepresentable {
        what: format!("{} with the tag {}", content::type_name(&value), tag.original()),
        remedy: "correct the value or remove the tag",
    })
}

/// A tag that is not of the core schema.
pub(crate) fn unrepresentable_tag(tag: &Tag) -> Refusal {
    Refusal::Unrepresentable {
        what: format!("the tag {}", tag.original()),
        remedy: "remove the tag",
    }
}

fn plain(text: Cow<'_, str>) -> Result<Value, Refusal> {
    Ok(match text.as_ref() {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        number if number.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '-' | '+' | '.')) => {
            match numeric(number)? {
                Some(spelling) => Value::Number(number::from_spelling(&spelling)?),
                None => Value::String(text.into_owned()),
            }
        }
        _ => Value::String(text.into_owned()),
    })
}

/// The spelling in JSON's grammar of a scalar that the core schema takes for a number.
fn numeric(text: &str) -> Result<Option<String>, Refusal> {
    if let Some(digits) = text.strip_prefix("0o") {
        return in_radix(digits, 8);
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return in_radix(digits, 16);
    }
    let (sign, unsigned) = match text.as_bytes()[0] {
        b'-' => ("-", &text[1..]),
        b'+' => ("", &text[1..]),
        _ => ("", text),
    };
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Err(Refusal::Unrepresentable {
            what: format!("{text}, which is not a finite number,"),
            remedy: "quote it to make it a string",
        });
    }
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], Some(&unsigned[at + 1..])),
        None => (unsigned, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let has_digits = !whole.is_empty() || fraction.is_some_and(|fraction| !fraction.is_empty());
    let exponent_is_one = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !digits.is_empty() && all_digits(digits)
    });
    if !has_digits || !all_digits(whole) || !fraction.is_none_or(all_digits) || !exponent_is_one {
        return Ok(None);
    }
    if exponent.is_none() && fraction.is_none() && has_leading_zero(whole) {
        return legacy_octal(whole, sign)
            .map(Some)
            .ok_or_else(|| Refusal::AmbiguousZero { text: text.to_owned() });
    }
    let significant = whole.trim_start_matches('0');
    let mut spelling = String::with_capacity(text.len() + 2);
    spelling.push_str(sign);
    spelling.push_str(if significant.is_empty() { "0" } else { significant });
    if let Some(fraction) = fraction {
        spelling.push('.');
        spelling.push_str(if fraction.is_empty() { "0" } else { fraction });
    }
    if let Some(exponent) = exponent {
        spelling.push('e');
        spelling.push_str(exponent);
    }
    Ok(Some(spelling))
}

/// Whether a plain scalar is an integer that begins with a zero, such as `0644`: a number as a value, and as a key
/// nothing that readers agree about.
pub(crate) fn is_zero_led(text: &str) -> bool {
    has_leading_zero(text.strip_prefix(['-', '+']).unwrap_or(text))
}

fn has_leading_zero(digits: &str) -> bool {
    digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// The decimal spelling of an octal number of YAML 1.1 (https://yaml.org/type/int.html). None where Kubernetes' reader
/// (go-yaml, `strconv.ParseInt` and `ParseUint` with base 0) falls back to decimal: at a digit above 7, and beyond 64
/// bits.
fn legacy_octal(digits: &str, sign: &str) -> Option<String> {
    let value = u64::from_str_radix(digits, 8).ok()?;
    match sign {
        "-" => Some(0_i64.checked_sub_unsigned(value)?.to_string()),
        _ => Some(value.to_string()),
    }
}

fn in_radix(digits: &str, radix: u32) -> Result<Option<String>, Refusal> {
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return Ok(None);
    }
    if digits.len() > limits::NUMBER_DIGITS_MAX {
        return Err(Refusal::NumberTooLong);
    }
    let decimal = number::bytes_to_digits(&number::digits_to_bytes(digits, radix));
    Ok(Some(if decimal.is_empty() { "0".to_owned() } else { decimal }))
}
