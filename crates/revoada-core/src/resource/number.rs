//! Numbers of documents: any decimal number, exactly.
//!
//! A number is kept as it is spelled, and two are the same if they denote the same decimal value: `1`, `1.0` and `1e0`
//! are equal, `0.1` and `0.10000000000000000001` are not, `-0` is `0`. Nothing is ever rounded through a float.
//! Rejected: `f64` for what is not an integer, as most readers do, by which `18446744073709551616` and `1e400` change.

use serde_json::Number;

use super::refusal::Refusal;
use crate::limits;

/// A decimal number: `(-1)^negative × digits × 10^exponent`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decimal {
    pub(crate) negative: bool,
    /// ASCII digits without leading zeros; `0` is empty.
    pub(crate) digits: String,
    pub(crate) exponent: i64,
}

impl Decimal {
    /// Reads a spelling in JSON's grammar (which its caller has checked). An exponent beyond 64 bits is read as one that
    /// [`from_spelling`] refuses.
    pub(crate) fn spelled(text: &str) -> Self {
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().unwrap_or(i64::MAX / 2)),
            None => (rest, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let mut digits = String::with_capacity(whole.len() + fraction.len());
        digits.push_str(whole);
        digits.push_str(fraction);
        let digits = digits.trim_start_matches('0').to_owned();
        let fraction_digits = i64::try_from(fraction.len()).unwrap_or(i64::MAX);
        Self {
            negative,
            digits,
            exponent: exponent.saturating_sub(fraction_digits),
        }
    }

    /// The one form of this value: no zeros at the end of the digits, zero without a sign and an exponent.
    pub(crate) fn normalized(mut self) -> Self {
        let significant = self.digits.trim_end_matches('0').len();
        if significant == 0 {
            return Self {
                negative: false,
                digits: String::new(),
                exponent: 0,
            };
        }
        let zeros = i64::try_from(self.digits.len() - significant).unwrap_or(i64::MAX);
        self.digits.truncate(significant);
        self.exponent = self.exponent.saturating_add(zeros);
        self
    }

    /// A spelling in JSON's grammar that [`Decimal::spelled`] reads back as this very value.
    pub(crate) fn spelling(&self) -> String {
        let sign = if self.negative { "-" } else { "" };
        let digits = if self.digits.is_empty() { "0" } else { &self.digits };
        match usize::try_from(-self.exponent) {
            Ok(0) => format!("{sign}{digits}"),
            // A point, while it does not take more than a few zeros.
            Ok(places) if places < digits.len() => {
                let (whole, fraction) = digits.split_at(digits.len() - places);
                format!("{sign}{whole}.{fraction}")
            }
            Ok(places) if places < digits.len() + 8 => {
                format!("{sign}0.{}{digits}", "0".repeat(places - digits.len()))
            }
            _ => format!("{sign}{digits}e{}", self.exponent),
        }
    }
}

/// The length of the number in JSON's grammar (RFC 8259 §6) at the beginning of `text`, or none.
pub(crate) fn scan(text: &[u8]) -> Option<usize> {
    let digits_from = |start: usize| text[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut end = usize::from(text.first() == Some(&b'-'));
    match text.get(end) {
        Some(b'0') => end += 1,
        Some(b'1'..=b'9') => end += digits_from(end),
        _ => return None,
    }
    if text.get(end) == Some(&b'.') {
        let fraction = digits_from(end + 1);
        if fraction == 0 {
            return None;
        }
        end += 1 + fraction;
    }
    if matches!(text.get(end), Some(b'e' | b'E')) {
        let mut digits = end + 1;
        if matches!(text.get(digits), Some(b'+' | b'-')) {
            digits += 1;
        }
        let count = digits_from(digits);
        if count == 0 {
            return None;
        }
        end = digits + count;
    }
    Some(end)
}

/// The number that is spelled `text`, which is in JSON's grammar.
pub(crate) fn from_spelling(text: &str) -> Result<Number, Refusal> {
    // What is short and has no exponent is within every limit; most numbers are.
    if text.len() > 20 || text.contains(['e', 'E']) {
        let decimal = Decimal::spelled(text);
        // Zeros do not count as digits, but a spelling has an end, too.
        if decimal.digits.len() > limits::NUMBER_DIGITS_MAX
            || text.len() > 2 * limits::NUMBER_DIGITS_MAX
            || decimal.exponent.abs() > limits::NUMBER_EXPONENT_MAX
        {
            return Err(Refusal::NumberTooLong);
        }
    }
    // With arbitrary precision this keeps the text; it fails only for what `scan` refuses too.
    text.parse::<Number>().map_err(|_| Refusal::NumberTooLong)
}

/// The big-endian bytes of the integer with these digits, without leading zeros. `radix` is at most 16.
///
/// Quadratic in the number of digits, which [`limits::NUMBER_DIGITS_MAX`] bounds.
pub(crate) fn digits_to_bytes(digits: &str, radix: u32) -> Vec<u8> {
    let mut limbs: Vec<u32> = Vec::new();
    // Seven digits of radix 16 are 28 bits.
    for chunk in digits.as_bytes().chunks(7) {
        let (scale, addend) = chunk.iter().fold((1_u64, 0_u64), |(scale, value), &digit| {
            let digit = char::from(digit).to_digit(radix).unwrap_or(0);
            (scale * u64::from(radix), value * u64::from(radix) + u64::from(digit))
        });
        let mut carry = addend;
        for limb in &mut limbs {
            let product = u64::from(*limb) * scale + carry;
            *limb = (product & 0xFFFF_FFFF) as u32;
            carry = product >> 32;
        }
        if carry > 0 {
            limbs.push((carry & 0xFFFF_FFFF) as u32);
        }
    }
    let bytes: Vec<u8> = limbs.iter().rev().flat_map(|limb| limb.to_be_bytes()).collect();
    let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
    bytes[zeros..].to_vec()
}

/// The decimal digits, without leading zeros (`0` is empty), of a big-endian integer.
pub(crate) fn bytes_to_digits(bytes: &[u8]) -> String {
    const CHUNK: u64 = 1_000_000_000;
    let mut chunks: Vec<u32> = Vec::new();
    for byte in bytes {
        let mut carry = u64::from(*byte);
        for chunk in &mut chunks {
            let product = u64::from(*chunk) * 256 + carry;
            *chunk = (product % CHUNK) as u32;
            carry = product / CHUNK;
        }
        if carry > 0 {
            chunks.push(carry as u32);
        }
    }
    let padded: String = chunks.iter().rev().map(|chunk| format!("{chunk:09}")).collect();
    padded.trim_start_matches('0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_value_have_one_normal_form() {
        for same in [
            &["0", "-0", "0.0", "0e9", "-0.00E+5"][..],
            &["1", "1.0", "1e0", "10e-1", "0.1E1", "0.001e3"],
            &["-1200", "-1.2e3", "-12E2"],
            &["18446744073709551616", "18446744073709551616.000"],
        ] {
            let normal = Decimal::spelled(same[0]).normalized();
            for text in same {
                assert_eq!(Decimal::spelled(text).normalized(), normal, "{text}");
            }
        }
        assert_ne!(
            Decimal::spelled("0.1").normalized(),
            Decimal::spelled("0.10000000000000000001").normalized()
        );
    }

    #[test]
    fn a_decimal_is_spelled_so_that_it_reads_back() {
        for text in [
            "0",
            "0.0",
            "1.0",
            "-12.50",
            "1e400",
            "-1e-400",
            "0.0000001",
            "123456789012345678901234567890",
        ] {
            let decimal = Decimal::spelled(text);
            assert_eq!(Decimal::spelled(&decimal.spelling()), decimal, "{text}");
        }
    }

    #[test]
    fn digits_and_bytes_are_inverse() {
        for digits in [
            "",
            "1",
            "255",
            "256",
            "18446744073709551615",
            "18446744073709551616",
            &"9".repeat(1000),
        ] {
            assert_eq!(bytes_to_digits(&digits_to_bytes(digits, 10)), digits);
        }
        assert_eq!(digits_to_bytes("18446744073709551616", 10), [1, 0, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn only_the_grammar_of_json_is_scanned() {
        for (text, length) in [("0", 1), ("-1", 2), ("1.5e-7,", 6), ("10", 2), ("01", 1)] {
            assert_eq!(scan(text.as_bytes()), Some(length), "{text}");
        }
        for text in ["", "-", ".5", "1.", "1e", "1e+", "+1", "x"] {
            assert_eq!(scan(text.as_bytes()), None, "{text}");
        }
    }
}
