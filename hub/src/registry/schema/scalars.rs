//! Scalars that decode by rules of their own: quantities, times, base64, int-or-strings. Each is put in the form that
//! Kubernetes answers with, or refused in its words.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use skiff_shared::quantity::Quantity;

/// Layout of `metav1.Time`, in Go's notation.
const TIME: &str = "2006-01-02T15:04:05Z07:00";
/// Layout of `metav1.MicroTime`, in Go's notation.
const MICRO_TIME: &str = "2006-01-02T15:04:05.000000Z07:00";

/// How times are written.
pub(super) const TIME_FORMAT: &str = "%Y-%m-%dT%H:%M:%SZ";
/// How times in microseconds are written.
pub(super) const MICRO_TIME_FORMAT: &str = "%Y-%m-%dT%H:%M:%S.%6fZ";

/// Why a scalar is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The JSON type is wrong; what a Go decoder would have wanted.
    Type(&'static str),
    /// The text is wrong; the whole message.
    Text(String),
}

/// Canonicalises a quantity: text, or a number as text.
pub(super) fn quantity(value: &mut Value) -> Result<(), Refusal> {
    let text = match value {
        Value::String(text) => std::mem::take(text),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    };
    let quantity = Quantity::parse(&text).map_err(|error| Refusal::Text(error.to_string()))?;
    *value = quantity.to_string().into();
    Ok(())
}

/// Checks an int32 or a text.
pub(super) fn int_or_string(value: &Value) -> Result<(), Refusal> {
    match value {
        Value::String(_) => Ok(()),
        Value::Number(number) if number.as_i64().is_some_and(|n| i32::try_from(n).is_ok()) => Ok(()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Err(Refusal::Type("int32"))
        }
    }
}

/// Checks base64 text.
pub(super) fn bytes(value: &Value) -> Result<(), Refusal> {
    let text = value.as_str().ok_or(Refusal::Type("[]uint8"))?;
    // Go skips line breaks.
    let text: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    match STANDARD.decode(&text) {
        Ok(_) => Ok(()),
        Err(error) => Err(Refusal::Text(format!("illegal base64 data at input byte {}", illegal_byte(&text, &error)))),
    }
}

fn illegal_byte(text: &str, error: &base64::DecodeError) -> usize {
    match error {
        base64::DecodeError::InvalidByte(offset, _) | base64::DecodeError::InvalidLastSymbol(offset, _) => *offset,
        base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding => text.len() / 4 * 4,
    }
}

/// Puts a time in UTC, in whole seconds.
pub(super) fn time(value: &mut Value) -> Result<(), Refusal> {
    canonical_time(value, TIME, TIME_FORMAT)
}

/// Puts a time in UTC, in microseconds.
pub(super) fn micro_time(value: &mut Value) -> Result<(), Refusal> {
    canonical_time(value, MICRO_TIME, MICRO_TIME_FORMAT)
}

fn canonical_time(value: &mut Value, layout: &str, format: &str) -> Result<(), Refusal> {
    let text = value.as_str().ok_or(Refusal::Type("string"))?;
    if let Some((rest, piece)) = misfit(text) {
        return Err(Refusal::Text(format!("parsing time {text:?} as {layout:?}: cannot parse {rest:?} as {piece:?}")));
    }
    let time: jiff::Timestamp =
        text.parse().map_err(|_| Refusal::Text(format!("parsing time {text:?}: day out of range")))?;
    *value = time.strftime(format).to_string().into();
    Ok(())
}

/// The rest of a text that does not fit RFC 3339, and the piece of Go's layout it fails on.
fn misfit(text: &str) -> Option<(&str, &'static str)> {
    const PIECES: [&str; 11] = ["2006", "-", "01", "-", "02", "T", "15", ":", "04", ":", "05"];
    let mut rest = text;
    for piece in PIECES {
        let digits = piece.as_bytes()[0].is_ascii_digit();
        let fits = match rest.get(..piece.len()) {
            Some(head) if digits => head.bytes().all(|b| b.is_ascii_digit()),
            Some(head) => head == piece,
            None => false,
        };
        if !fits {
            return Some((rest, piece));
        }
        rest = &rest[piece.len()..];
    }
    let zone = match rest.strip_prefix('.') {
        Some(fraction) => fraction.trim_start_matches(|c: char| c.is_ascii_digit()),
        None => rest,
    };
    (!is_zone(zone)).then_some((zone, "Z07:00"))
}

fn is_zone(zone: &str) -> bool {
    zone == "Z"
        || matches!(zone.as_bytes(), [b'+' | b'-', a, b, b':', c, d] if [a, b, c, d].iter().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn after(check: fn(&mut Value) -> Result<(), Refusal>, mut value: Value) -> Result<Value, Refusal> {
        check(&mut value).map(|()| value)
    }

    #[test]
    fn quantities_become_canonical() {
        for (given, expected) in
            [(json!("0.5"), "500m"), (json!("1024Mi"), "1Gi"), (json!(2), "2"), (json!(0.1), "100m")]
        {
            assert_eq!(after(quantity, given), Ok(json!(expected)));
        }
        for bad in [json!("banana"), json!(true), json!([]), json!("")] {
            let refusal = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
            assert_eq!(after(quantity, bad), Err(Refusal::Text(refusal.into())));
        }
    }

    #[test]
    fn times_become_utc() {
        for (given, expected) in [
            ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
            ("2026-01-02T03:04:05+02:00", "2026-01-02T01:04:05Z"),
            ("2026-01-02T03:04:05.987Z", "2026-01-02T03:04:05Z"),
        ] {
            assert_eq!(after(time, json!(given)), Ok(json!(expected)));
        }
        assert_eq!(after(micro_time, json!("2026-01-02T03:04:05Z")), Ok(json!("2026-01-02T03:04:05.000000Z")));
    }

    #[test]
    fn bad_times_are_refused_in_gos_words() {
        for (given, expected) in [
            (
                "yesterday",
                r#"parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006""#,
            ),
            (
                "2026-01-02 03:04:05Z",
                r#"parsing time "2026-01-02 03:04:05Z" as "2006-01-02T15:04:05Z07:00": cannot parse " 03:04:05Z" as "T""#,
            ),
            (
                "2026-01-02T03:04:05",
                r#"parsing time "2026-01-02T03:04:05" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "Z07:00""#,
            ),
            ("2026-02-31T03:04:05Z", r#"parsing time "2026-02-31T03:04:05Z": day out of range"#),
        ] {
            assert_eq!(after(time, json!(given)), Err(Refusal::Text(expected.into())));
        }
        assert_eq!(after(time, json!(5)), Err(Refusal::Type("string")));
    }

    #[test]
    fn base64_is_checked() {
        assert_eq!(bytes(&json!("aGVsbG8=")), Ok(()));
        assert_eq!(bytes(&json!("aGVs\nbG8=")), Ok(()));
        assert_eq!(bytes(&json!("not base64")), Err(Refusal::Text("illegal base64 data at input byte 3".into())));
        assert_eq!(bytes(&json!(1)), Err(Refusal::Type("[]uint8")));
    }
}
