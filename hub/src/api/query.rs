//! Query strings: percent-decoding and typed look-ups with Kubernetes' errors.

use super::status::Status;

/// The decoded parameters of a URL, in order.
#[derive(Debug, Clone, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Parses the part of a URL after `?`. Never fails: malformed escapes stay as they are, as browsers have it.
    pub fn parse(text: &str) -> Self {
        let pair = |part: &str| {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            (decode(key, true), decode(value, true))
        };
        Self(text.split('&').filter(|p| !p.is_empty()).map(pair).collect())
    }

    /// The first value of a parameter; `None` when it is missing or empty.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str()).filter(|v| !v.is_empty())
    }

    /// The first value of a parameter that is there, also an empty one.
    pub fn given(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// All values of a parameter.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// A boolean as apiserver reads it: there, and neither `false` nor `0`.
    pub fn flag(&self, key: &str) -> bool {
        self.optional_flag(key).unwrap_or(false)
    }

    /// Like [`Query::flag`], but tells a missing parameter from a false one.
    pub fn optional_flag(&self, key: &str) -> Option<bool> {
        self.all(key).next().map(|v| !(v.eq_ignore_ascii_case("false") || v == "0"))
    }

    /// An integer.
    ///
    /// # Errors
    /// 400 in the words of Go's `strconv`.
    pub fn integer(&self, key: &str) -> Result<Option<i64>, Status> {
        let wrong = |v: &str| Status::bad_request(format!("strconv.ParseInt: parsing {v:?}: {}", number_error(v)));
        self.given(key).map(|v| v.parse().map_err(|_| wrong(v))).transpose()
    }
}

/// Why Go's `strconv` takes a text for no number that it can hold.
pub(crate) fn number_error(text: &str) -> &'static str {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if is_number { "value out of range" } else { "invalid syntax" }
}

/// Decodes `%XX`, and `+` as a space in queries. Bytes that are no UTF-8 become replacement characters.
pub(crate) fn decode(text: &str, plus_is_space: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let escaped = (bytes[i] == b'%').then(|| bytes.get(i + 1..i + 3).and_then(hex_byte)).flatten();
        match escaped {
            Some(byte) => {
                out.push(byte);
                i += 2;
            }
            None => out.push(if plus_is_space && bytes[i] == b'+' { b' ' } else { bytes[i] }),
        }
        i += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn hex_byte(digits: &[u8]) -> Option<u8> {
    let digit = |b: u8| char::from(b).to_digit(16);
    u8::try_from(digit(digits[0])? * 16 + digit(digits[1])?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let query =
            Query::parse("labelSelector=app%3Dweb%2Ctier+in+(a)&watch=1&limit=5&empty=&follow&x=%zz%4&no=false");
        assert_eq!(query.get("labelSelector"), Some("app=web,tier in (a)"));
        assert_eq!(query.get("empty"), None);
        assert_eq!(query.get("x"), Some("%zz%4"));
        assert_eq!(query.integer("limit").unwrap(), Some(5));
        assert!(query.flag("watch") && query.flag("follow"));
        assert!(!query.flag("no") && !query.flag("missing"));
    }

    #[test]
    fn a_word_is_no_integer() {
        for (text, why) in
            [("many", "invalid syntax"), ("", "invalid syntax"), ("99999999999999999999", "value out of range")]
        {
            let error = Query::parse(&format!("limit={text}")).integer("limit").unwrap_err();
            let expected = format!("strconv.ParseInt: parsing {text:?}: {why}");
            assert_eq!((error.code, error.message), (400, expected));
        }
    }
}
