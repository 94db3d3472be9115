//! The query form of label selectors, read token by token as Kubernetes reads it, so that what is wrong is told in its
//! words.

use std::collections::BTreeSet;

use super::{LabelSelector, Operator, Requirement, SelectorError, check};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Closed,
    Comma,
    Not,
    DoubleEquals,
    Equals,
    Greater,
    In,
    Less,
    NotEquals,
    NotIn,
    Open,
    Word,
    /// Signs that mean nothing together.
    Wrong,
    End,
}

const SIGNS: [(&str, Token); 9] = [
    (")", Token::Closed),
    (",", Token::Comma),
    ("!", Token::Not),
    ("==", Token::DoubleEquals),
    ("=", Token::Equals),
    (">", Token::Greater),
    ("<", Token::Less),
    ("!=", Token::NotEquals),
    ("(", Token::Open),
];
const OPERATORS: &str = "in, notin, =, ==, !=, gt, lt";

/// Parses a selector.
///
/// # Errors
/// [`SelectorError`].
pub(super) fn parse(text: &str) -> Result<LabelSelector, SelectorError> {
    let mut parser = Parser { tokens: tokens(text), position: 0 };
    let mut requirements = Vec::new();
    loop {
        match parser.lookahead() {
            (Token::Word | Token::Not, _) => {
                let wrong = |e: SelectorError| SelectorError(format!("unable to parse requirement: {}", e.0));
                requirements.push(parser.requirement().map_err(wrong)?);
            }
            (Token::End, _) => return Ok(LabelSelector { requirements }),
            (_, found) => return Err(unexpected(found, ": !, identifier, or 'end of string'")),
        }
        match parser.consume() {
            (Token::End, _) => return Ok(LabelSelector { requirements }),
            (Token::Comma, _) => match parser.lookahead() {
                (Token::Word | Token::Not, _) => {}
                (_, found) => return Err(unexpected(found, ": identifier after ','")),
            },
            (_, found) => return Err(unexpected(found, ": ',' or 'end of string'")),
        }
    }
}

fn unexpected(found: &str, expected: &str) -> SelectorError {
    SelectorError(format!("found '{found}', expected{expected}"))
}

fn is_sign(c: char) -> bool {
    "=!(),><".contains(c)
}

/// Cuts a selector into tokens; the last one is [`Token::End`].
fn tokens(text: &str) -> Vec<(Token, &str)> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, length) = if is_sign(first) { sign(rest) } else { word(rest) };
        tokens.push((token, &rest[..length]));
        rest = rest[length..].trim_start();
    }
    tokens.push((Token::End, ""));
    tokens
}

/// The longest run of signs at the start that means something, and its length.
fn sign(text: &str) -> (Token, usize) {
    let run = text.find(|c| !is_sign(c)).unwrap_or(text.len());
    let mut found = (Token::Wrong, run);
    for length in 1..=run {
        match SIGNS.iter().find(|(sign, _)| *sign == &text[..length]) {
            Some((_, token)) => found = (*token, length),
            None if found.0 == Token::Wrong => {}
            None => break,
        }
    }
    found
}

fn word(text: &str) -> (Token, usize) {
    let length = text.find(|c: char| c.is_whitespace() || is_sign(c)).unwrap_or(text.len());
    let token = match &text[..length] {
        "in" => Token::In,
        "notin" => Token::NotIn,
        _ => Token::Word,
    };
    (token, length)
}

struct Parser<'a> {
    tokens: Vec<(Token, &'a str)>,
    position: usize,
}

impl<'a> Parser<'a> {
    /// The next token as it is.
    fn next(&self) -> (Token, &'a str) {
        self.tokens.get(self.position).copied().unwrap_or((Token::End, ""))
    }

    /// The next token, where `in` and `notin` are words like others.
    fn lookahead(&self) -> (Token, &'a str) {
        match self.next() {
            (Token::In | Token::NotIn, text) => (Token::Word, text),
            other => other,
        }
    }

    fn consume(&mut self) -> (Token, &'a str) {
        let token = self.lookahead();
        self.position += 1;
        token
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        let absent = self.lookahead().0 == Token::Not;
        if absent {
            self.consume();
        }
        let (token, key) = self.consume();
        if token != Token::Word {
            return Err(unexpected(key, ": identifier"));
        }
        check::key("<nil>", key)?;
        let (operator, values) = if absent {
            (Operator::DoesNotExist, Vec::new())
        } else if matches!(self.lookahead().0, Token::End | Token::Comma) {
            (Operator::Exists, Vec::new())
        } else {
            let listed = matches!(self.next().0, Token::In | Token::NotIn);
            let operator = self.operator()?;
            let values = if listed { self.values()? } else { BTreeSet::from([self.value()?]) };
            (operator, values.into_iter().map(str::to_owned).collect())
        };
        let requirement = Requirement { key: key.to_owned(), operator, values };
        check::values(&requirement)?;
        Ok(requirement)
    }

    fn operator(&mut self) -> Result<Operator, SelectorError> {
        let (token, found) = self.next();
        self.position += 1;
        Ok(match token {
            Token::In | Token::Equals | Token::DoubleEquals => Operator::In,
            Token::NotIn | Token::NotEquals => Operator::NotIn,
            Token::Greater => Operator::GreaterThan,
            Token::Less => Operator::LessThan,
            Token::Closed | Token::Comma | Token::Not | Token::Open | Token::Word | Token::Wrong | Token::End => {
                return Err(unexpected(found, &format!(": {OPERATORS}")));
            }
        })
    }

    /// One value after a sign; none is an empty one.
    fn value(&mut self) -> Result<&'a str, SelectorError> {
        match self.lookahead() {
            (Token::End | Token::Comma, _) => Ok(""),
            (Token::Word, value) => {
                self.position += 1;
                Ok(value)
            }
            (_, found) => Err(unexpected(found, ": identifier")),
        }
    }

    /// Values in parentheses.
    fn values(&mut self) -> Result<BTreeSet<&'a str>, SelectorError> {
        let (token, found) = self.consume();
        if token != Token::Open {
            return Err(SelectorError(format!("found '{found}' expected: '('")));
        }
        let mut values = BTreeSet::new();
        match self.lookahead() {
            (Token::Closed, _) => {
                values.insert("");
            }
            (Token::Word | Token::Comma, _) => self.list(&mut values)?,
            (_, found) => return Err(unexpected(found, ": ',', ')' or identifier")),
        }
        match self.consume() {
            (Token::Closed, _) => Ok(values),
            (_, found) => Err(unexpected(found, ": ')'")),
        }
    }

    fn list(&mut self, values: &mut BTreeSet<&'a str>) -> Result<(), SelectorError> {
        loop {
            match self.consume() {
                (Token::Word, value) => {
                    values.insert(value);
                    match self.lookahead() {
                        (Token::Comma, _) => {}
                        (Token::Closed, _) => return Ok(()),
                        (_, found) => return Err(unexpected(found, ": ',' or ')'")),
                    }
                }
                (Token::Comma, _) => {
                    // An empty value stands before, between or after commas.
                    if values.is_empty() {
                        values.insert("");
                    }
                    let next = self.lookahead().0;
                    if matches!(next, Token::Closed | Token::Comma) {
                        values.insert("");
                    }
                    if next == Token::Closed {
                        return Ok(());
                    }
                    self.position += usize::from(next == Token::Comma);
                }
                (_, found) => return Err(unexpected(found, ": ',', or identifier")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_told_in_kubernetes_words() {
        let name = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
        let value = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
        let long = "b".repeat(64);
        for (selector, expected) in [
            ("a in", "unable to parse requirement: found '' expected: '('".to_owned()),
            ("a in b", "unable to parse requirement: found 'b' expected: '('".to_owned()),
            ("a==b==c", "found '==', expected: ',' or 'end of string'".to_owned()),
            ("!", "unable to parse requirement: found '', expected: identifier".to_owned()),
            ("=", "found '=', expected: !, identifier, or 'end of string'".to_owned()),
            ("x notin (a", "unable to parse requirement: found '', expected: ',' or ')'".to_owned()),
            ("a,,b", "found ',', expected: identifier after ','".to_owned()),
            ("a b", format!("unable to parse requirement: found 'b', expected: {OPERATORS}")),
            ("!a b", "found 'b', expected: ',' or 'end of string'".to_owned()),
            ("a in ((b))", "unable to parse requirement: found '(', expected: ',', ')' or identifier".to_owned()),
            ("a===b", "unable to parse requirement: found '=', expected: identifier".to_owned()),
            ("-x", format!("unable to parse requirement: <nil>: Invalid value: \"-x\": {name}")),
            ("x=-", format!("unable to parse requirement: values[0][x]: Invalid value: \"-\": {value}")),
            (
                &format!("a={long}"),
                format!("unable to parse requirement: values[0][a]: Invalid value: \"{long}\": must be no more than 63 bytes"),
            ),
            (
                "gen>x",
                "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer".to_owned(),
            ),
        ] {
            assert_eq!(parse(selector).map_err(|e| e.0), Err(expected), "{selector}");
        }
    }

    #[test]
    fn odd_selectors_are_taken_as_kubernetes_takes_them() {
        for (selector, expected) in [
            ("  ", ""),
            ("x in ()", "x="),
            ("x in (,)", "x="),
            ("x in (a,,b)", "x in (,a,b)"),
            ("in in (in, notin)", "in in (in,notin)"),
            ("a==  b , c!=d", "a=b,c!=d"),
            ("a=", "a="),
            ("a=,b", "a=,b"),
        ] {
            assert_eq!(parse(selector).map(|s| s.to_string()), Ok(expected.to_owned()), "{selector}");
        }
    }
}
