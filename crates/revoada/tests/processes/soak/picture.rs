//! Throughput and faults over time, as a picture for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;

const WIDTH: f64 = 1_200.0;
const CHART: f64 = 260.0;
const ROW: f64 = 16.0;
const LEFT: f64 = 110.0;
const TOP: f64 = 30.0;

/// What is drawn.
#[derive(Default)]
pub struct Picture {
    /// By second: operations asked for, writes acknowledged.
    pub load: Vec<(f64, usize, usize)>,
    pub faults: Vec<Spell>,
}

/// A fault from its beginning until all was well again, in seconds.
pub struct Spell {
    kind: &'static str,
    from: f64,
    took: f64,
}

impl Picture {
    pub fn of(kind: &'static str, from: f64, took: f64) -> Spell {
        Spell { kind, from, took }
    }

    /// As SVG.
    pub fn draw(&self, seconds: f64) -> String {
        let mut rows: BTreeMap<&str, Vec<&Spell>> = BTreeMap::new();
        for spell in &self.faults {
            rows.entry(spell.kind).or_default().push(spell);
        }
        let x = |second: f64| LEFT + second / seconds.max(1.0) * (WIDTH - LEFT - 20.0);
        let most = self.load.iter().map(|(_, asked, _)| *asked).max().unwrap_or(1).max(1);
        let y = |count: usize| TOP + CHART - count as f64 / most as f64 * CHART;
        let height = TOP + CHART + 30.0 + ROW * rows.len() as f64 + 20.0;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
             font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
        );
        let mut add = |line: String| writeln!(svg, "{line}").expect("text can be appended to");
        add(format!(
            "<text x=\"{LEFT}\" y=\"18\">operations a second (grey), writes acknowledged (blue); at most {most}; {seconds:.0} s</text>"
        ));
        for (color, which) in [("#999", 0), ("#1f6fb4", 1)] {
            let points = self.load.iter().map(|(second, asked, written)| {
                let count = if which == 0 { *asked } else { *written };
                format!("{:.1},{:.1}", x(*second), y(count))
            });
            let points = points.collect::<Vec<_>>().join(" ");
            add(format!(
                "<polyline fill=\"none\" stroke=\"{color}\" points=\"{points}\"/>"
            ));
        }
        for (number, (kind, spells)) in rows.iter().enumerate() {
            let top = TOP + CHART + 20.0 + ROW * number as f64;
            add(format!("<text x=\"4\" y=\"{:.1}\">{kind}</text>", top + 11.0));
            for spell in spells {
                add(format!(
                    "<rect x=\"{:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"#c0392b\"/>",
                    x(spell.from),
                    (x(spell.from + spell.took) - x(spell.from)).max(1.0),
                    ROW - 4.0
                ));
            }
        }
        svg + "</svg>\n"
    }
}
