//! What is made of the data: plots, and tables in Markdown.

use crate::{
    axis::{Axis, short},
    data::{Curve, Data, Density, Point},
    plot::{Panel, Plot},
};
use sailor_bench::report::median;
use std::fmt::Write as _;

/// The name of the plot about many idle steps.
const DENSITY: &str = "density";

/// The plots, each with the name of its file.
///
/// # Errors
/// When one cannot be drawn.
pub fn plots(data: &Data) -> anyhow::Result<Vec<(String, String)>> {
    let mut plots = Vec::new();
    for curve in &data.curves {
        plots.push((format!("{}.svg", curve.name), of_curve(curve).svg()?));
    }
    if !data.densities.is_empty() {
        let plot = of_densities(&data.densities);
        plots.push((format!("{DENSITY}.svg"), plot.svg()?));
    }
    Ok(plots)
}

/// What a curve is about: the title of the horizontal axis, its unit, and what is counted.
fn words(curve: &str) -> (&'static str, &'static str, &'static str) {
    match curve {
        "size" => ("size of a message", "B", "messages"),
        "prefetch" => ("prefetch", "", "messages"),
        "replicas" => ("replicas", "", "messages"),
        "events" => ("events for each message", "", "events"),
        "passthrough" => ("earlier steps in the passthrough", "", "messages"),
        _ => ("", "", "messages"),
    }
}

type Figure = fn(&Point) -> Option<f64>;

fn figures(counted: &str) -> [(String, Figure); 3] {
    let one = counted.trim_end_matches('s');
    [
        (format!("{counted}/s"), |point| Some(point.rate)),
        (format!("CPU per {one}, µs"), |point| point.cpu),
        ("peak memory, MB".to_owned(), |point| point.memory),
    ]
}

fn of_curve(curve: &Curve) -> Plot {
    let (x_title, x_unit, counted) = words(&curve.name);
    let points = |figure: Figure| {
        let lines = curve.series.iter().map(move |series| {
            let points = series.points.iter();
            points
                .filter_map(move |point| Some((point.x, figure(point)?)))
                .collect()
        });
        lines.collect::<Vec<Vec<(f64, f64)>>>()
    };
    let panels = figures(counted).map(|(title, figure)| {
        let lines = points(figure);
        Panel {
            title,
            x_title: x_title.to_owned(),
            x: Axis::of_numbers(&numbers(curve)),
            y: Axis::of_values(lines.iter().flatten().map(|(_, value)| *value)),
            x_unit,
            lines,
            marked: true,
        }
    });
    Plot {
        lines: curve
            .series
            .iter()
            .map(|series| series.name.clone())
            .collect(),
        panels: panels.into(),
    }
}

fn numbers(curve: &Curve) -> Vec<f64> {
    let mut numbers: Vec<f64> = curve
        .series
        .iter()
        .flat_map(|series| series.points.iter().map(|point| point.x))
        .collect();
    numbers.sort_by(f64::total_cmp);
    numbers.dedup();
    numbers
}

fn of_densities(densities: &[Density]) -> Plot {
    let consuming = densities.iter().map(|density| {
        let points = &density.restart.consuming;
        points
            .iter()
            .map(|(at, steps)| (*at, *steps as f64))
            .collect()
    });
    let attempts = densities.iter().map(|density| {
        let seconds = density.restart.attempts.iter().zip(0_u32..);
        seconds
            .map(|(attempts, second)| (f64::from(second), *attempts as f64))
            .collect()
    });
    let panel = |title: &str, x_title: &str, lines: Vec<Vec<(f64, f64)>>| Panel {
        title: title.to_owned(),
        x_title: x_title.to_owned(),
        x: Axis::from_zero(lines.iter().flatten().map(|(x, _)| *x).fold(0.0, f64::max)),
        y: Axis::from_zero(lines.iter().flatten().map(|(_, y)| *y).fold(0.0, f64::max)),
        x_unit: "",
        lines,
        marked: false,
    };
    Plot {
        lines: densities
            .iter()
            .map(|density| density.name.clone())
            .collect(),
        panels: vec![
            panel(
                "steps that consume",
                "seconds after the broker is back",
                consuming.collect(),
            ),
            panel(
                "attempts to connect in each second",
                "seconds after the broker went away",
                attempts.collect(),
            ),
        ],
    }
}

/// The data as tables in Markdown.
#[must_use]
pub fn tables(data: &Data) -> String {
    let mut text = String::new();
    for curve in &data.curves {
        text.push_str(&table_of_curve(curve));
    }
    if !data.densities.is_empty() {
        text.push_str(&table_of_densities(&data.densities));
    }
    text
}

fn table_of_curve(curve: &Curve) -> String {
    let (x_title, x_unit, counted) = words(&curve.name);
    let figures = figures(counted);
    let mut text = format!("{}\n\n| {x_title} |", curve.conditions);
    for series in &curve.series {
        for (title, _) in &figures {
            let _ = write!(text, " {}: {title} |", series.name);
        }
    }
    let columns = "--:|".repeat(curve.series.len() * figures.len());
    let _ = writeln!(text, "\n|--:|{columns}");
    for x in numbers(curve) {
        let _ = write!(text, "| {} |", short(x, x_unit));
        for series in &curve.series {
            let point = series.points.iter().find(|point| point.x == x);
            for (_, figure) in &figures {
                let value = point.and_then(figure);
                let value = value.map_or_else(|| "–".to_owned(), |value| short(value, ""));
                let _ = write!(text, " {value} |");
            }
        }
        text.push('\n');
    }
    text + "\n"
}

/// A figure as the text of a cell.
type Cell = fn(&Density) -> String;

fn table_of_densities(densities: &[Density]) -> String {
    let mut text = String::new();
    for density in densities {
        let _ = writeln!(text, "{}\n", density.conditions);
    }
    text.push_str("| | ");
    for density in densities {
        let _ = write!(text, "{} | ", density.name);
    }
    let _ = writeln!(text, "\n|---|{}", "--:|".repeat(densities.len()));
    let rows: [(&str, Cell); 8] = [
        ("steps", |density| density.steps.to_string()),
        ("private memory of each, MB", |density| {
            spread(&density.private_memory)
        }),
        ("share in the physical memory, MB", |density| {
            spread(&density.shared_memory)
        }),
        ("CPU of each, ms per minute", |density| spread(&density.cpu)),
        ("the broker was away for", |density| {
            seconds(density.restart.outage)
        }),
        ("until half of them consume again", |density| {
            seconds(density.restart.until(density.steps / 2))
        }),
        ("until all consume again", |density| {
            seconds(density.restart.until(density.steps))
        }),
        (
            "attempts to connect, in the busiest second and the busiest 100 ms after that",
            |density| {
                let attempts = &density.restart.attempts;
                let most = attempts.iter().max().copied().unwrap_or_default();
                format!("{most}, {}", density.restart.burst)
            },
        ),
    ];
    for (title, cell) in rows {
        let _ = write!(text, "| {title} |");
        for density in densities {
            let _ = write!(text, " {} |", cell(density));
        }
        text.push('\n');
    }
    text
}

fn seconds(value: f64) -> String {
    format!("{value:.1} s")
}

/// The median of values in ascending order, with the smallest and the greatest.
fn spread(values: &[f64]) -> String {
    let ends = values.first().zip(values.last());
    ends.map_or_else(
        || "–".to_owned(),
        |(least, most)| {
            format!(
                "{} ({}..{})",
                short(median(values), ""),
                short(*least, ""),
                short(*most, "")
            )
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Restart, Series};

    fn data() -> Data {
        let point = |x, rate| Point {
            x,
            rate,
            cpu: Some(2.0),
            memory: None,
        };
        Data {
            curves: vec![Curve {
                name: "size".to_owned(),
                conditions: "Somewhere.".to_owned(),
                series: vec![Series {
                    name: "ours".to_owned(),
                    points: vec![point(100.0, 5.0), point(8e6, 0.5)],
                }],
            }],
            densities: vec![Density {
                name: "up to 30 s".to_owned(),
                conditions: "Elsewhere.".to_owned(),
                steps: 2,
                private_memory: vec![5.0, 6.0],
                shared_memory: vec![7.0],
                cpu: vec![],
                restart: Restart {
                    outage: 10.0,
                    attempts: vec![4, 1],
                    burst: 1,
                    consuming: vec![(0.0, 0), (1.5, 1), (20.0, 2)],
                },
            }],
        }
    }

    #[test]
    fn each_point_is_a_line_of_a_table() {
        let tables = tables(&data());
        for line in [
            "Somewhere.",
            "| size of a message | ours: messages/s | ours: CPU per message, µs | ours: peak memory, MB |",
            "| 100 B | 5 | 2 | – |",
            "| 8 MB | 0.50 | 2 | – |",
            "Elsewhere.",
            "| private memory of each, MB | 5.5 (5..6) |",
            "| until half of them consume again | 1.5 s |",
            "| until all consume again | 20.0 s |",
            "| attempts to connect, in the busiest second and the busiest 100 ms after that | 4, 1 |",
        ] {
            assert!(
                tables.lines().any(|known| known == line),
                "{line} in\n{tables}"
            );
        }
    }

    #[test]
    fn each_curve_has_a_plot() {
        let plots = plots(&data()).unwrap();
        let names: Vec<_> = plots.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["size.svg", "density.svg"]);
        assert!(plots[0].1.contains("\n8 MB\n"), "{}", plots[0].1);
    }
}
