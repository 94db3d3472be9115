//! Sets of indexes of a Job's completions, as text: `0,3-5`.

use std::ops::RangeInclusive;

/// How many indexes below `completions` a set holds.
///
/// # Errors
/// What is wrong with it, in Kubernetes' words.
pub(super) fn count(text: &str, completions: i64) -> Result<i64, String> {
    let (mut last, mut total): (Option<i64>, i64) = (None, 0);
    for part in parts(text) {
        let range = interval(part, completions)?;
        let (start, end) = (*range.start(), *range.end());
        if let Some(last) = last.filter(|last| *last >= start) {
            return Err(format!("non-increasing order, previous: {last}, current: {start}"));
        }
        total = total.saturating_add(end.saturating_sub(start).saturating_add(1));
        last = Some(end);
    }
    Ok(total)
}

/// The first index that two sets share. Parts that cannot be read are left out.
pub(super) fn overlap(completed: &str, failed: &str, completions: i64) -> Option<i64> {
    let ranges = |text| parts(text).filter_map(|part| interval(part, completions).ok()).collect::<Vec<_>>();
    let (completed, failed) = (ranges(completed), ranges(failed));
    let shared = completed.iter().flat_map(|c| {
        failed
            .iter()
            .filter(move |f| c.start() <= f.end() && f.start() <= c.end())
            .map(move |f| *c.start().max(f.start()))
    });
    shared.min()
}

fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').filter(move |_| !text.is_empty())
}

fn interval(text: &str, completions: i64) -> Result<RangeInclusive<i64>, String> {
    let number = |text: &str| match text.parse::<i64>() {
        Err(_) => Err(format!("cannot convert string to integer for index: {text:?}")),
        Ok(number) if number >= completions => Err(format!("too large index: {text:?}")),
        Ok(number) => Ok(number),
    };
    match text.split('-').collect::<Vec<_>>()[..] {
        [one] => number(one).map(|n| n..=n),
        [start, end] => {
            let (start, end) = (number(start)?, number(end)?);
            if start >= end {
                return Err(format!("non-increasing order, previous: {start}, current: {end}"));
            }
            Ok(start..=end)
        }
        _ => Err(format!(
            "the fragment {text:?} violates the requirement that an index interval can have at most two parts separated by '-'"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets() {
        for (text, expected) in [
            ("", Ok(0)),
            ("0,3-5", Ok(4)),
            ("3,1", Err("non-increasing order, previous: 3, current: 1")),
            ("5-3", Err("non-increasing order, previous: 5, current: 3")),
            ("10", Err("too large index: \"10\"")),
            ("a", Err("cannot convert string to integer for index: \"a\"")),
            (
                "1-2-3",
                Err(
                    "the fragment \"1-2-3\" violates the requirement that an index interval can have at most two parts separated by '-'",
                ),
            ),
        ] {
            assert_eq!(count(text, 10), expected.map_err(str::to_owned), "{text}");
        }
        assert_eq!(overlap("0-2,5", "3,5", 10), Some(5));
        assert_eq!(overlap("0-2", "x,3", 10), None);
        assert_eq!(overlap("", "3", 10), None);
    }
}
