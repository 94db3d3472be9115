//! The printed table.

/// Rows, in the order they were measured.
#[derive(Debug, Default)]
pub(crate) struct Table(Vec<Row>);

#[derive(Debug)]
struct Row {
    what: String,
    value: f64,
    unit: &'static str,
    aim: Aim,
    reference: String,
}

/// What a figure should be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Aim {
    /// It is only shown.
    None,
    /// At most this.
    Most(f64),
    /// At least this.
    Least(f64),
}

impl Aim {
    fn verdict(self, value: f64) -> &'static str {
        match self {
            Self::None => "",
            Self::Most(aim) if value <= aim => "ok",
            Self::Least(aim) if value >= aim => "ok",
            Self::Most(_) | Self::Least(_) => "MISSED",
        }
    }
}

impl Table {
    /// Adds a figure, and shows it at once: a run takes minutes.
    pub(crate) fn add(&mut self, what: &str, value: f64, unit: &'static str, aim: Aim, reference: &str) {
        eprintln!("{what}: {} {unit} {reference}", rounded(value));
        self.0.push(Row { what: what.into(), value, unit, aim, reference: reference.into() });
    }

    /// Prints all rows.
    pub(crate) fn print(&self) {
        println!("{:<58} {:>12} {:>12}  {:<6} reference", "figure", "measured", "aim", "");
        for row in &self.0 {
            let with_unit = |value: f64| format!("{} {}", rounded(value), row.unit).trim().to_owned();
            let aim = match row.aim {
                Aim::None => String::new(),
                Aim::Most(aim) => format!("<= {}", with_unit(aim)),
                Aim::Least(aim) => format!(">= {}", with_unit(aim)),
            };
            let (measured, verdict) = (with_unit(row.value), row.aim.verdict(row.value));
            println!("{:<58} {measured:>12} {aim:>12}  {verdict:<6} {}", row.what, row.reference);
        }
    }
}

fn rounded(value: f64) -> String {
    if value.fract() == 0.0 || value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}
