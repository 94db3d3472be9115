//! Selectors, quantities and join tokens: what was read is written so that it reads the same.
#![no_main]

use skiff_shared::quantity::Quantity;
use skiff_shared::selector::{FieldSelector, LabelSelector};
use skiff_shared::wire::token::JoinToken;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(selector) = LabelSelector::parse(text) {
        assert_eq!(LabelSelector::parse(&selector.to_string()).expect("a printed selector is one"), selector);
        selector.matches(|key| (key.len() % 2 == 0).then_some("value"));
    }
    if let Ok(selector) = FieldSelector::parse(text) {
        selector.matches(str::to_owned);
    }
    if let Ok(quantity) = Quantity::parse(text) {
        let printed = Quantity::parse(&quantity.to_string()).expect("a printed quantity is one");
        assert_eq!((printed.value(), printed.nano()), (quantity.value(), quantity.nano()));
    }
    if let Ok(token) = JoinToken::parse(text) {
        assert_eq!(JoinToken::parse(&token.to_string()).map(|t| t.proof()).ok(), Some(token.proof()));
    }
});
