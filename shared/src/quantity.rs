//! Kubernetes resource quantities (`100m`, `1.5`, `64Mi`, `1e3`), as exact numbers
//! (<https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>).

use std::fmt;

/// Why a text is no quantity; the wording is Kubernetes'.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
pub struct QuantityError;

/// An exact quantity in units of 10⁻⁹, with the form it was written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantity {
    nano: i128,
    format: Format,
}

/// How a quantity is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `1k`, `100m`.
    DecimalSi,
    /// `1Ki`.
    BinarySi,
    /// `1e3`.
    DecimalExponent,
}

const NANO: i128 = 1_000_000_000;
const BINARY: [(&str, u32); 6] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];
const DECIMAL: [(&str, i32); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];

impl Quantity {
    /// Parses a quantity. Fractions below 10⁻⁹ are rounded up, away from zero; values are capped at 2⁶³-1 units.
    ///
    /// # Errors
    /// [`QuantityError`].
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        let (negative, rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(QuantityError);
        }
        let (format, multiplier, exponent) = parse_suffix(suffix)?;
        let nano = scale(whole, fraction, multiplier, exponent);
        Ok(Self { nano: if negative { -nano } else { nano }, format })
    }

    /// The quantity of whole units.
    pub fn of(units: i64, format: Format) -> Self {
        Self { nano: i128::from(units) * NANO, format }
    }

    /// The quantity of thousandths.
    pub fn of_milli(milli: i64) -> Self {
        Self { nano: i128::from(milli) * (NANO / 1000), format: Format::DecimalSi }
    }

    /// In whole units, rounded up.
    pub fn value(self) -> i64 {
        self.rounded_up(NANO)
    }

    /// In thousandths, rounded up.
    pub fn milli(self) -> i64 {
        self.rounded_up(NANO / 1000)
    }

    /// In units of 10⁻⁹: exact.
    pub fn nano(self) -> i128 {
        self.nano
    }

    /// The sum, in this quantity's form.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { nano: self.nano.saturating_add(other.nano), format: self.format }
    }

    /// The difference, in this quantity's form.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self { nano: self.nano.saturating_sub(other.nano), format: self.format }
    }

    fn rounded_up(self, unit: i128) -> i64 {
        let quotient = self.nano.div_euclid(unit) + i128::from(self.nano.rem_euclid(unit) != 0);
        i64::try_from(quotient).unwrap_or(if quotient < 0 { i64::MIN } else { i64::MAX })
    }
}

fn parse_suffix(suffix: &str) -> Result<(Format, i128, i32), QuantityError> {
    if let Some((_, bits)) = BINARY.iter().find(|(s, _)| *s == suffix) {
        return Ok((Format::BinarySi, 1_i128 << bits, 0));
    }
    if let Some((_, exponent)) = DECIMAL.iter().find(|(s, _)| *s == suffix) {
        return Ok((Format::DecimalSi, 1, *exponent));
    }
    let digits = suffix.strip_prefix(['e', 'E']).ok_or(QuantityError)?;
    let exponent: i32 = digits.parse().map_err(|_| QuantityError)?;
    Ok((Format::DecimalExponent, 1, exponent.clamp(-100, 100)))
}

/// `whole.fraction * multiplier * 10^exponent` in 10⁻⁹ units, rounded up, capped.
fn scale(whole: &str, fraction: &str, multiplier: i128, exponent: i32) -> i128 {
    let cap = i128::from(i64::MAX) * NANO;
    // As many digits as can be multiplied without overflow; of the rest only the place matters, or the rounding.
    let most = if multiplier == 1 { 10_i128.pow(36) } else { 10_i128.pow(19) };
    let (mut value, mut shift, mut inexact) = (0_i128, exponent.saturating_add(9), false);
    let digits = whole.bytes().map(|d| (d, 1)).chain(fraction.bytes().map(|d| (d, 0)));
    for (digit, place) in digits {
        if value < most {
            value = value * 10 + i128::from(digit - b'0');
            shift = shift.saturating_add(place - 1);
        } else {
            inexact |= digit != b'0';
            shift = shift.saturating_add(place);
        }
    }
    value = value.saturating_mul(multiplier);
    while shift > 0 && value < cap {
        value = value.saturating_mul(10);
        shift -= 1;
    }
    while shift < 0 && value > 0 {
        inexact |= value % 10 != 0;
        value /= 10;
        shift += 1;
    }
    (value + i128::from(inexact)).min(cap)
}

impl fmt::Display for Quantity {
    /// The canonical form: the largest suffix with which the number stays whole.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.nano < 0 { "-" } else { "" };
        let n = self.nano.unsigned_abs();
        if n == 0 {
            return f.write_str("0");
        }
        let unit = NANO.unsigned_abs();
        if self.format == Format::BinarySi && n.is_multiple_of(unit) && n / unit >= 1024 {
            let units = n / unit;
            let best = BINARY.iter().rev().find(|(_, bits)| units.is_multiple_of(1 << bits));
            return match best {
                Some((suffix, bits)) => write!(f, "{sign}{}{suffix}", units >> bits),
                None => write!(f, "{sign}{units}"),
            };
        }
        let (mut digits, mut exponent) = (n, -9);
        while digits % 1000 == 0 && exponent < 18 {
            digits /= 1000;
            exponent += 3;
        }
        if self.format == Format::DecimalExponent {
            return if exponent == 0 { write!(f, "{sign}{digits}") } else { write!(f, "{sign}{digits}e{exponent}") };
        }
        let suffix = DECIMAL.iter().find(|(_, e)| *e == exponent).map_or("", |(s, _)| *s);
        write!(f, "{sign}{digits}{suffix}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quantities_parse_and_print_as_kubernetes_does() {
        for (text, milli, canonical) in [
            ("0", 0, "0"),
            ("1", 1000, "1"),
            ("100m", 100, "100m"),
            ("0.5", 500, "500m"),
            ("1.5", 1500, "1500m"),
            ("1k", 1_000_000, "1k"),
            ("1000", 1_000_000, "1k"),
            ("1Ki", 1_024_000, "1Ki"),
            ("1.5Gi", 1_610_612_736_000, "1536Mi"),
            ("1.0000000000000000000000000000000000000000000", 1000, "1"),
            ("1.000000000000000000000000000000Ki", 1_024_000, "1Ki"),
            ("9223372036854775807", i64::MAX, "9223372036854775807"),
            ("9223372036854775806.5", i64::MAX, "9223372036854775806500m"),
            ("1024Ki", 1_048_576_000, "1Mi"),
            ("1e3", 1_000_000, "1e3"),
            ("-2", -2000, "-2"),
            ("1u", 1, "1u"),
            (".5", 500, "500m"),
            ("12E", 9_223_372_036_854_775_807, "9223372036854775807"),
        ] {
            let q = Quantity::parse(text).expect(text);
            assert_eq!(q.to_string(), canonical, "{text}");
            if text != "12E" {
                assert_eq!(q.milli(), milli, "{text}");
            }
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "banana", "1.2.3", "1kk", "Ki", "1 Gi", "--1", "1e", "0x10", "."] {
            assert_eq!(Quantity::parse(text), Err(QuantityError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn printing_and_parsing_keep_the_value(n in -1_000_000_000_000_i64..1_000_000_000_000, suffix in prop::sample::select(vec!["", "m", "k", "M", "Ki", "Mi", "u"])) {
            let q = Quantity::parse(&format!("{n}{suffix}")).unwrap();
            prop_assert_eq!(Quantity::parse(&q.to_string()).unwrap().nano(), q.nano());
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in "\\PC{0,40}") {
            let _refused_or_not = Quantity::parse(&text);
        }
    }
}
