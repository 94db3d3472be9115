//! Cron schedules, judged as Kubernetes' parser judges them: five fields, or a word such as `@daily`.

/// Lowest and highest value of a field, and the names that stand for values from `first` on.
struct Bounds {
    min: u32,
    max: u32,
    names: &'static [&'static str],
    first: u32,
}

const FIELDS: [Bounds; 5] = [
    Bounds { min: 0, max: 59, names: &[], first: 0 },
    Bounds { min: 0, max: 23, names: &[], first: 0 },
    Bounds { min: 1, max: 31, names: &[], first: 0 },
    Bounds {
        min: 1,
        max: 12,
        names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
        first: 1,
    },
    Bounds { min: 0, max: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"], first: 0 },
];
const WORDS: [&str; 7] = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

/// Judges a schedule.
///
/// # Errors
/// What is wrong with it, in the words of Kubernetes' parser.
pub(crate) fn check(schedule: &str) -> Result<(), String> {
    let schedule = match schedule.split_once(' ') {
        // Whether there is such a zone is left to whoever acts on the schedule.
        Some((zone, rest)) if zone.starts_with("TZ=") || zone.starts_with("CRON_TZ=") => rest.trim(),
        _ => schedule,
    };
    if schedule.starts_with('@') {
        return descriptor(schedule);
    }
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        let count = fields.len();
        return Err(format!("expected exactly 5 fields, found {count}: [{}]", fields.join(" ")));
    }
    for (field, bounds) in fields.iter().zip(&FIELDS) {
        for part in field.split(',').filter(|p| !p.is_empty()) {
            range(part, bounds)?;
        }
    }
    Ok(())
}

fn descriptor(schedule: &str) -> Result<(), String> {
    if let Some(duration) = schedule.strip_prefix("@every ") {
        let digits = duration.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let valid = digits.len() < duration.len() && digits.starts_with(|c: char| c.is_ascii_digit());
        return if valid { Ok(()) } else { Err(format!("failed to parse duration {schedule}")) };
    }
    if WORDS.contains(&schedule) { Ok(()) } else { Err(format!("unrecognized descriptor: {schedule}")) }
}

/// `*`, `5`, `1-5`, each with `/STEP` or without.
fn range(text: &str, bounds: &Bounds) -> Result<(), String> {
    let (span, step) = match text.split('/').collect::<Vec<_>>()[..] {
        [span] => (span, None),
        [span, step] => (span, Some(step)),
        _ => return Err(format!("too many slashes: {text}")),
    };
    let (start, end) = match span.split('-').collect::<Vec<_>>()[..] {
        ["*" | "?"] => (bounds.min, bounds.max),
        // A start with a step goes on to the end.
        [start] => (number(start, bounds)?, if step.is_some() { bounds.max } else { number(start, bounds)? }),
        [start, end] => (number(start, bounds)?, number(end, bounds)?),
        _ => return Err(format!("too many hyphens: {text}")),
    };
    let step = step.map_or(Ok(1), integer)?;
    if start < bounds.min {
        return Err(format!("beginning of range ({start}) below minimum ({}): {text}", bounds.min));
    }
    if end > bounds.max {
        return Err(format!("end of range ({end}) above maximum ({}): {text}", bounds.max));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {text}"));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {text}"));
    }
    Ok(())
}

fn number(text: &str, bounds: &Bounds) -> Result<u32, String> {
    let named = bounds.names.iter().zip(bounds.first..).find(|(name, _)| text.eq_ignore_ascii_case(name));
    named.map_or_else(|| integer(text), |(_, number)| Ok(number))
}

fn integer(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn schedules() {
        for good in
            ["* * * * *", "*/5 0-6,12 1 JAN-mar Sun", "0 0 ? * 1/2", "@daily", "@every 1h30m", "TZ=UTC 0 0 * * *"]
        {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for (bad, complaint) in [
            ("", "expected exactly 5 fields, found 0: []"),
            ("* * *", "expected exactly 5 fields, found 3: [* * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("* 5-2 * * *", "beginning of range (5) beyond end of range (2): 5-2"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("x * * * *", "failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax"),
            ("@never", "unrecognized descriptor: @never"),
        ] {
            assert_eq!(check(bad), Err(complaint.to_owned()), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_judged(text in "[@*0-9a-z/,? -]{0,20}") {
            if let Err(complaint) = check(&text) {
                prop_assert!(!complaint.is_empty());
            }
        }
    }
}
