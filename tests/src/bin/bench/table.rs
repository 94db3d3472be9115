//! The printed table.

/// Rows, in the order they were measured.
#[derive(Debug, Default)]
pub(crate) struct Table(Vec<Row>);

#[derive(Debug)]
struct Row {
    what: String,
    value: f64,
    unit: &'static str,
    aim: Option<f64>,
    reference: String,
}

impl Table {
    /// Adds a figure, and shows it at once: a run takes minutes. `aim` is the most it should be.
    pub(crate) fn add(&mut self, what: &str, value: f64, unit: &'static str, aim: Option<f64>, reference: &str) {
        eprintln!("{what}: {} {unit}", rounded(value));
        self.0.push(Row { what: what.into(), value, unit, aim, reference: reference.into() });
    }

    /// Prints all rows.
    pub(crate) fn print(&self) {
        println!("{:<52} {:>12} {:>12}  {:<6} reference", "figure", "measured", "aim", "");
        for row in &self.0 {
            let with_unit = |value: f64| format!("{} {}", rounded(value), row.unit).trim().to_owned();
            let aim = row.aim.map_or(String::new(), |aim| format!("<= {}", with_unit(aim)));
            let verdict = match row.aim {
                Some(aim) if row.value <= aim => "ok",
                Some(_) => "MISSED",
                None => "",
            };
            println!("{:<52} {:>12} {aim:>12}  {verdict:<6} {}", row.what, with_unit(row.value), row.reference);
        }
    }
}

fn rounded(value: f64) -> String {
    if value.fract() == 0.0 || value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}
