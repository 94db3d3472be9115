//! How long a request may take: the `timeout` of its URL, within the server's own bound.

use std::time::Duration;

use super::query::Query;
use super::status::Status;

/// How long a request may take, long-running ones aside: apiserver's `--request-timeout`.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The time a request has, all of its body and of its answer included. As in apiserver, a `timeout` of zero and one
/// beyond the bound mean the bound.
///
/// # Errors
/// 400 for a `timeout` that is no duration.
pub(crate) fn deadline(query: &Query) -> Result<Duration, Status> {
    let Some(text) = query.get("timeout") else { return Ok(REQUEST_TIMEOUT) };
    let wrong = |why| Status::bad_request(format!("invalid timeout specified in the request URL - {why}"));
    let asked = go_duration(text).map_err(wrong)?;
    Ok(if asked > 0.0 && asked < REQUEST_TIMEOUT.as_secs_f64() {
        Duration::from_secs_f64(asked)
    } else {
        REQUEST_TIMEOUT
    })
}

/// Seconds of a duration as Go reads it: `1h30m`, `1.5s`, `-2ms`.
fn go_duration(text: &str) -> Result<f64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0.0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().map_err(|_| invalid())?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let seconds = match &rest[..unit] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" | "μs" => 1e-6,
            "ns" => 1e-9,
            "" => return Err(format!("time: missing unit in duration {text:?}")),
            other => return Err(format!("time: unknown unit {other:?} in duration {text:?}")),
        };
        total += number * seconds;
        rest = &rest[unit..];
    }
    // What does not fit Go's nanoseconds in 64 bits.
    if total > 9.2e9 { Err(invalid()) } else { Ok(sign * total) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timeout_of_a_url_is_bounded() {
        for (query, millis) in [
            ("", 60_000),
            ("timeout=", 60_000),
            ("timeout=34s", 34_000),
            ("timeout=1.5s", 1_500),
            ("timeout=1s500ms", 1_500),
            ("timeout=1h", 60_000),
            ("timeout=0s", 60_000),
            ("timeout=0", 60_000),
            ("timeout=-5s", 60_000),
        ] {
            assert_eq!(deadline(&Query::parse(query)), Ok(Duration::from_millis(millis)), "{query}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_in_gos_words() {
        for (text, why) in [
            ("soon", r#"time: invalid duration "soon""#),
            ("10", r#"time: missing unit in duration "10""#),
            ("1d", r#"time: unknown unit "d" in duration "1d""#),
            ("-", r#"time: invalid duration "-""#),
            ("1.2.3s", r#"time: invalid duration "1.2.3s""#),
            ("9999999h", r#"time: invalid duration "9999999h""#),
        ] {
            let status = deadline(&Query::parse(&format!("timeout={text}"))).unwrap_err();
            let message = format!("invalid timeout specified in the request URL - {why}");
            assert_eq!((status.code, status.message), (400, message));
        }
    }
}
