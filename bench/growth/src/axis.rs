//! The axes of a plot.

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use std::ops::Range;

/// One axis: where a number is on it, and which numbers have a label.
#[derive(Clone, Debug)]
pub struct Axis {
    logarithmic: bool,
    least: f64,
    most: f64,
    labelled: Vec<f64>,
}

/// From this ratio on of the greatest number to the smallest one, an axis is logarithmic.
const WIDE: f64 = 20.0;

impl Axis {
    /// A logarithmic axis with a label for each of these numbers, which are positive and in ascending order.
    #[must_use]
    pub fn of_numbers(numbers: &[f64]) -> Self {
        let ends = numbers.first().zip(numbers.last());
        let (least, most) = ends.map_or((1.0, 10.0), |(least, most)| (*least, *most));
        Self {
            logarithmic: true,
            // A little room on both sides.
            least: least / 1.2,
            most: most * 1.2,
            labelled: numbers.to_vec(),
        }
    }

    /// An axis for measured values: from zero, or logarithmic if they differ much.
    #[must_use]
    pub fn of_values(values: impl Iterator<Item = f64> + Clone) -> Self {
        let most = values.clone().fold(0.0, f64::max);
        let least = values.fold(most, f64::min);
        if least > 0.0 && most / least > WIDE {
            Self::powers(least, most)
        } else {
            Self::from_zero(most)
        }
    }

    /// A linear axis from zero.
    #[must_use]
    pub fn from_zero(most: f64) -> Self {
        let most = if most > 0.0 { most } else { 1.0 };
        let step = nice(most / 5.0);
        let labels = (most / step).ceil() as u32;
        Self {
            logarithmic: false,
            least: 0.0,
            most: step * f64::from(labels),
            labelled: (0..=labels)
                .map(|number| step * f64::from(number))
                .collect(),
        }
    }

    fn powers(least: f64, most: f64) -> Self {
        let (first, last) = (least.log10().floor() as i32, most.log10().ceil() as i32);
        Self {
            logarithmic: true,
            least: 10_f64.powi(first),
            most: 10_f64.powi(last),
            labelled: (first..=last).map(|power| 10_f64.powi(power)).collect(),
        }
    }

    /// Where a number is between the ends, from 0 to 1.
    fn place(&self, number: f64) -> f64 {
        if self.logarithmic {
            (number / self.least).ln() / (self.most / self.least).ln()
        } else {
            (number - self.least) / (self.most - self.least)
        }
    }
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, number: &f64, (begin, end): (i32, i32)) -> i32 {
        begin + (self.place(*number) * f64::from(end - begin)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        // There are no lines between the labels.
        if hint.weight().allow_light_points() {
            Vec::new()
        } else {
            self.labelled.clone()
        }
    }

    fn range(&self) -> Range<f64> {
        self.least..self.most
    }
}

/// The next of 1, 2, 5, 10, 20, 50 and so on.
fn nice(step: f64) -> f64 {
    let power = 10_f64.powf(step.log10().floor());
    let digits = [1.0, 2.0, 5.0, 10.0].into_iter();
    let steps = digits.map(|digit| digit * power);
    steps
        .into_iter()
        .find(|nice| *nice >= step * 0.999)
        .unwrap_or(step)
}

/// A number with three digits at most and its unit, such as `250`, `1.5 k` and `8 MB`.
#[must_use]
pub fn short(number: f64, unit: &str) -> String {
    let (number, prefix) = match number {
        number if number >= 999_500.0 => (number / 1e6, "M"),
        number if number >= 999.5 => (number / 1e3, "k"),
        number => (number, ""),
    };
    let digits = if number >= 99.95 || (number - number.round()).abs() < 0.05 {
        0
    } else if number >= 1.0 {
        1
    } else {
        2
    };
    let text = format!("{number:.digits$} {prefix}{unit}");
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (number, expected) in [
            (0.0, "0"),
            (0.25, "0.25"),
            (1.5, "1.5"),
            (17.0, "17"),
            (250.4, "250"),
            (1_000.0, "1 k"),
            (1_500.0, "1.5 k"),
            (8_000_000.0, "8 M"),
            (999_900.0, "1 M"),
        ] {
            assert_eq!(short(number, ""), expected);
        }
        assert_eq!(short(100.0, "B"), "100 B");
        assert_eq!(short(8e6, "B"), "8 MB");
    }

    #[test]
    fn values_that_differ_much_have_a_logarithmic_axis() {
        let near = Axis::of_values([900.0, 4_100.0].into_iter());
        assert_eq!(
            near.labelled,
            [0.0, 1_000.0, 2_000.0, 3_000.0, 4_000.0, 5_000.0]
        );
        assert_eq!(near.map(&2_500.0, (0, 100)), 50);
        let far = Axis::of_values([30.0, 4_100.0].into_iter());
        assert_eq!(far.labelled, [10.0, 100.0, 1_000.0, 10_000.0]);
        assert_eq!(far.map(&100.0, (300, 0)), 200);
    }

    #[test]
    fn an_axis_without_values_has_ends() {
        assert_eq!(Axis::of_values(std::iter::empty()).range(), 0.0..1.0);
        assert!(!Axis::of_numbers(&[]).range().is_empty());
    }
}
