//! Figures, as SVG for pages and as PNG for everything else.

use std::path::Path;
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow, ensure};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontStyle, register_font};

use crate::stats::Spread;

const SIZE: (u32, u32) = (900, 560);
const FONT: &str = "sans-serif";
/// Recall ends where everything was found, and a little is left for the last marker.
const RECALL_END: f64 = 1.002;

/// One figure.
pub(crate) struct Plot {
    /// The files' name without extension.
    pub(crate) file: String,
    pub(crate) title: String,
    drawing: Drawing,
}

enum Drawing {
    Curves(Vec<Line>),
    Dots { groups: Vec<String>, series: Vec<Series> },
}

/// The points of one contestant: recall and queries per second.
pub(crate) struct Line {
    pub(crate) label: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// One contestant's queries per second in each group; none where it was not measured.
pub(crate) struct Series {
    pub(crate) label: String,
    pub(crate) values: Vec<Option<Spread>>,
}

impl Plot {
    /// Queries per second over recall, the field's usual figure: up and to the right is better.
    pub(crate) fn recall_qps(
        file: impl Into<String>,
        title: impl Into<String>,
        lines: Vec<Line>,
    ) -> Result<Self> {
        ensure!(lines.iter().any(|line| !line.points.is_empty()), "there is nothing to plot");
        Ok(Self { file: file.into(), title: title.into(), drawing: Drawing::Curves(lines) })
    }

    /// Queries per second of several contestants in several groups, such as sets of vectors: the median, and a line over the
    /// range of the rounds.
    pub(crate) fn dots(
        file: impl Into<String>,
        title: impl Into<String>,
        groups: Vec<String>,
        series: Vec<Series>,
    ) -> Result<Self> {
        ensure!(series.iter().any(|one| one.values.iter().any(Option::is_some)), "there is nothing to plot");
        Ok(Self { file: file.into(), title: title.into(), drawing: Drawing::Dots { groups, series } })
    }

    /// Writes `<file>.svg` and `<file>.png` into a folder.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        use_bundled_font()?;
        let path = |extension: &str| folder.join(format!("{}.{extension}", self.file));
        self.draw(SVGBackend::new(&path("svg"), SIZE).into_drawing_area())
            .and_then(|()| self.draw(BitMapBackend::new(&path("png"), SIZE).into_drawing_area()))
            .with_context(|| format!("cannot draw {} in {}", self.file, folder.display()))
    }

    fn draw<DB: DrawingBackend>(&self, area: DrawingArea<DB, Shift>) -> Result<()> {
        let drawn = area.fill(&WHITE).and_then(|()| match &self.drawing {
            Drawing::Curves(lines) => self.draw_curves(&area, lines),
            Drawing::Dots { groups, series } => self.draw_dots(&area, groups, series),
        });
        // The backends' errors are not `Sync`.
        drawn.and_then(|()| area.present()).map_err(|error| anyhow!("{error}"))
    }

    fn draw_curves<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>, lines: &[Line]) -> Drawn<DB> {
        let points = || lines.iter().flat_map(|line| &line.points);
        let lowest = points().map(|point| point.0).fold(1.0, f64::min);
        // Rounded down to tenths, or to hundredths where everything is good.
        let step = if lowest < 0.9 { 0.1 } else { 0.01 };
        let first = ((lowest / step).floor() * step).clamp(0.0, 1.0 - step);
        let mut chart = self
            .builder(area)
            .build_cartesian_2d(first..RECALL_END, decades(points().map(|point| point.1)).log_scale())?;
        chart
            .configure_mesh()
            .x_desc("recall")
            .y_desc("queries per second")
            .y_label_formatter(&rate)
            .draw()?;
        for (place, line) in lines.iter().enumerate() {
            let color = Palette99::pick(place).to_rgba();
            let stroke = color.stroke_width(if place == 0 { 3 } else { 1 });
            chart
                .draw_series(LineSeries::new(line.points.iter().copied(), stroke))?
                .label(&line.label)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], stroke));
            chart.draw_series(line.points.iter().map(|&point| Circle::new(point, 3, color.filled())))?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerLeft)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .draw()
    }

    fn draw_dots<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
        groups: &[String],
        series: &[Series],
    ) -> Drawn<DB> {
        let spreads = || series.iter().flat_map(|one| one.values.iter().flatten());
        let range = decades(spreads().flat_map(|spread| [spread.min, spread.max]));
        let bottom = range.start;
        let mut chart = self.builder(area).build_cartesian_2d(0.0..groups.len() as f64, range.log_scale())?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_label_formatter(&|_| String::new())
            .y_desc("queries per second")
            .y_label_formatter(&rate)
            .draw()?;
        let below = (FONT, 15).into_font().color(&BLACK).pos(Pos::new(HPos::Center, VPos::Top));
        chart.draw_series(groups.iter().enumerate().map(|(i, group)| {
            EmptyElement::at((i as f64 + 0.5, bottom)) + Text::new(group.clone(), (0, 8), below.clone())
        }))?;
        for (place, one) in series.iter().enumerate() {
            let color = Palette99::pick(place).to_rgba();
            let x = |group: usize| group as f64 + (place as f64 + 1.0) / (series.len() as f64 + 1.0);
            let known = || {
                one.values.iter().enumerate().filter_map(|(group, spread)| spread.map(|it| (x(group), it)))
            };
            chart
                .draw_series(known().map(|(x, spread)| Circle::new((x, spread.median), 5, color.filled())))?
                .label(&one.label)
                .legend(move |(x, y)| Circle::new((x + 8, y), 5, color.filled()));
            chart.draw_series(known().map(|(x, Spread { min, max, .. })| {
                PathElement::new([(x, min), (x, max)], color.stroke_width(2))
            }))?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .draw()
    }

    fn builder<'a, 'b, DB: DrawingBackend>(
        &self,
        area: &'a DrawingArea<DB, Shift>,
    ) -> ChartBuilder<'a, 'b, DB> {
        let mut builder = ChartBuilder::on(area);
        builder.caption(&self.title, (FONT, 20)).margin(16).x_label_area_size(44).y_label_area_size(72);
        builder
    }
}

type Drawn<DB> = Result<(), DrawingAreaErrorKind<<DB as DrawingBackend>::ErrorType>>;

/// What the rates lie in, with some room, for a logarithmic axis.
fn decades(rates: impl Iterator<Item = f64>) -> std::ops::Range<f64> {
    let (min, max) = rates.fold((f64::MAX, 1.0), |(min, max), rate| (rate.min(min), rate.max(max)));
    min.clamp(0.1, max) / 1.5..max * 1.5
}

fn rate(queries_per_second: &f64) -> String {
    if *queries_per_second < 1_000.0 {
        format!("{queries_per_second}")
    } else {
        format!("{}k", queries_per_second / 1_000.0)
    }
}

/// So that figures need no fonts of the system.
fn use_bundled_font() -> Result<()> {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    let register = || register_font(FONT, FontStyle::Normal, dejavu::sans::regular()).is_ok();
    ensure!(*REGISTERED.get_or_init(register), "the bundled font is broken");
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn figures_are_written_in_both_formats() {
        let dir = tempfile::tempdir().unwrap();
        let line = Line { label: "the index".to_owned(), points: vec![(0.93, 2_000.0), (0.99, 800.0)] };
        let curves = Plot::recall_qps("curves", "a title", vec![line]).unwrap();
        let spread = Some(Spread::of(vec![10.0, 20.0, 30.0]));
        let series = Series { label: "the index".to_owned(), values: vec![spread, None] };
        let groups = vec!["first set".to_owned(), "second set".to_owned()];
        let dots = Plot::dots("dots", "a title", groups, vec![series]).unwrap();
        for plot in [curves, dots] {
            plot.write(dir.path()).unwrap();
            let svg = std::fs::read_to_string(dir.path().join(format!("{}.svg", plot.file))).unwrap();
            assert!(
                svg.contains("a title") && svg.contains("the index") && svg.contains("queries per second")
            );
            let png = std::fs::read(dir.path().join(format!("{}.png", plot.file))).unwrap();
            assert!(png.starts_with(b"\x89PNG") && png.len() > 5_000, "{} bytes", png.len());
        }
        assert!(Plot::recall_qps("empty", "a title", vec![]).is_err());
    }
}
