//! Draws curves as SVG: dark lines on white, so that they are readable on a dark page as well.

use crate::axis::{Axis, short};
use anyhow::anyhow;
use plotters::{coord::Shift, prelude::*};

const WIDTH: u32 = 960;
const HEIGHT: u32 = 320;
/// The height of the line that names the colours.
const LEGEND: u32 = 34;

const INK: RGBColor = RGBColor(36, 41, 47);
const GRID: RGBColor = RGBColor(222, 226, 230);
const COLOURS: [RGBColor; 4] = [
    RGBColor(9, 105, 218),
    RGBColor(188, 76, 0),
    RGBColor(26, 127, 55),
    RGBColor(130, 80, 223),
];

/// Several panels with the same lines.
pub struct Plot {
    /// The names of the lines.
    pub lines: Vec<String>,
    /// From left to right.
    pub panels: Vec<Panel>,
}

/// One pair of axes.
pub struct Panel {
    /// What the height of a line says.
    pub title: String,
    /// What the horizontal axis is.
    pub x_title: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// The unit of the horizontal axis, after each number.
    pub x_unit: &'static str,
    /// The points of each line.
    pub lines: Vec<Vec<(f64, f64)>>,
    /// Whether each point is marked.
    pub marked: bool,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

impl Plot {
    /// The plot as the text of an SVG file.
    ///
    /// # Errors
    /// When the library cannot draw it.
    pub fn svg(&self) -> anyhow::Result<String> {
        let mut svg = String::new();
        self.draw(&mut svg)
            .map_err(|error| anyhow!("drawing a plot: {error}"))?;
        // Files end with a line break.
        svg.truncate(svg.trim_end().len());
        svg.push('\n');
        Ok(svg)
    }

    fn draw(&self, svg: &mut String) -> Result<(), Box<dyn std::error::Error>> {
        let root = SVGBackend::with_string(svg, (WIDTH, HEIGHT)).into_drawing_area();
        root.fill(&WHITE)?;
        let (legend, panels) = root.split_vertically(LEGEND);
        self.legend(&legend)?;
        let areas = panels.split_evenly((1, self.panels.len().max(1)));
        for (panel, area) in self.panels.iter().zip(areas) {
            panel.draw(&area)?;
        }
        root.present()?;
        Ok(())
    }

    fn legend(&self, area: &Area) -> Result<(), Box<dyn std::error::Error>> {
        let mut left = 20;
        for (name, colour) in self.lines.iter().zip(COLOURS) {
            let line = vec![(left, 20), (left + 24, 20)];
            area.draw(&PathElement::new(line, colour.stroke_width(3)))?;
            let font = ("sans-serif", 14).into_font().color(&INK);
            area.draw(&Text::new(name.as_str(), (left + 30, 12), font))?;
            left += 30 + 9 * i32::try_from(name.chars().count())? + 24;
        }
        Ok(())
    }
}

impl Panel {
    fn draw(&self, area: &Area) -> Result<(), Box<dyn std::error::Error>> {
        let font = |size| ("sans-serif", size).into_font().color(&INK);
        let mut chart = ChartBuilder::on(area)
            .margin(10)
            .margin_right(18)
            .caption(&self.title, font(15))
            .x_label_area_size(44)
            .y_label_area_size(52)
            .build_cartesian_2d(self.x.clone(), self.y.clone())?;
        chart
            .configure_mesh()
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .axis_style(INK)
            .label_style(font(12))
            .axis_desc_style(font(13))
            .x_desc(&self.x_title)
            .x_label_formatter(&|number| short(*number, self.x_unit))
            .y_label_formatter(&|number| short(*number, ""))
            .draw()?;
        for (points, colour) in self.lines.iter().zip(COLOURS) {
            let size = if self.marked { 3 } else { 0 };
            let line =
                LineSeries::new(points.iter().copied(), colour.stroke_width(2)).point_size(size);
            chart.draw_series(line)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_names_its_lines_and_labels_its_points() {
        let numbers = [1.0, 10.0];
        let plot = Plot {
            lines: vec!["ours".to_owned(), "loop".to_owned()],
            panels: vec![Panel {
                title: "messages/s".to_owned(),
                x_title: "prefetch".to_owned(),
                x: Axis::of_numbers(&numbers),
                y: Axis::of_values([1_000.0, 4_000.0].into_iter()),
                x_unit: "",
                lines: vec![vec![(1.0, 1_000.0), (10.0, 4_000.0)]; 2],
                marked: true,
            }],
        };
        let svg = plot.svg().unwrap();
        for text in ["ours", "loop", "messages/s", "prefetch", "10", "4 k"] {
            assert!(svg.contains(&format!("\n{text}\n")), "{text} in {svg}");
        }
        assert_eq!(svg.matches("<circle").count(), 4, "{svg}");
        assert_eq!(
            plot.svg().unwrap(),
            svg,
            "the same numbers give the same file"
        );
    }
}
